"""Both truncation policies and hostile text, over 2,040 generated battles on three kinds of tokenizer."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny_tokenizers import (
    CORPUS,
    GEMMA_CONTROL_TOKENS,
    LLAMA_CONTROL_TOKENS,
    byte_fallback_style,
    gemma_style,
    llama_style,
)
from wsdm_arena.config import TemplateConfig, TruncationConfig
from wsdm_arena.prompts.battles import BattleTokenizer, assemble_sequence
from wsdm_arena.prompts.text import replace_lone_surrogates

BATTLES_PER_CASE = 340
STYLES = {"gemma": gemma_style, "llama": llama_style, "byte_fallback": byte_fallback_style}
TEMPLATE = TemplateConfig(
    instruction="Judge.",
    battle_start="",
    prompt_heading="Q: ",
    response_a_heading="\nA: ",
    response_b_heading="\nB: ",
    battle_end="",
    verdict_prefix="[[",
)
TRUNCATION = TruncationConfig.model_validate(
    {
        "max_battle_tokens": 120,
        "marker": "\n...\n",
        "per_field": {"max_prompt_tokens": 30, "max_response_tokens": 35},
        "shared_budget": {"reserved_tokens": 16, "max_prompt_tokens": 40},
    }
)
HOSTILE = (
    *GEMMA_CONTROL_TOKENS,
    *LLAMA_CONTROL_TOKENS,
    *(
        "<start_of_",
        "turn>",
        "<|eot",
        "_id|>",
        "<0x0A>",
        "<0xF0>",
        "▁▁",
        "\n\n\n",
        "\x00",
        "\ud800",
        "\udfff",
        "\ufeff",
    ),
    *(
        "🦊",
        "👩‍👩‍👧",
        "e\u0301\u0301",
        "\u202e",
        "法国的首都",
        "מה",
        " ",
        "  ",
        "\t",
        "\r\n",
        "\n...\n",
        "[[A]]",
        "null",
    ),
)

fragments = st.one_of(st.sampled_from(HOSTILE), st.sampled_from(CORPUS), st.text(max_size=12))
texts = st.one_of(
    st.none(),
    st.lists(fragments, max_size=14).map("".join),
    st.builds(lambda unit, times: unit * times, st.sampled_from(HOSTILE), st.integers(1, 120)),
)
battles = st.tuples(texts, texts, texts)


def check_text(tokenizer, battle_tokenizer, text, ids, max_tokens, num_kept):
    """Return what happened to the text: whether it was cut and whether it held a control token."""
    encoder = battle_tokenizer.encoder
    clean = replace_lone_surrogates(TEMPLATE.missing_text if text is None else text)[0]
    whole = encoder.encode(clean).tolist()
    ids = ids.tolist()
    assert not encoder.is_control[ids].any()
    if ids == whole:
        assert decode(tokenizer, ids) == readable(tokenizer, clean)
        assert num_kept == len(whole)
    else:
        assert len(ids) <= max_tokens
        marker = list(battle_tokenizer.template.marker)
        splits = [h for h in range(num_kept + 1) if whole[:h] + marker + whole[len(whole) - num_kept + h :] == ids]
        assert splits
        assert num_kept < len(whole)
        head, tail = whole[: splits[0]], whole[len(whole) - num_kept + splits[0] :]
        begin, end = decode(tokenizer, head), decode(tokenizer, tail)
        expected = readable(tokenizer, clean)
        assert expected.startswith(begin)
        assert expected.endswith(end)
        assert len(begin) + len(end) < len(expected)
    careless = tokenizer.encode(clean, add_special_tokens=False)
    return {"cut": ids != whole, "control": bool(encoder.is_control[careless].any())}


def decode(tokenizer, ids):
    return tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)


def readable(tokenizer, text):
    """SentencePiece spells a space and ``▁`` alike, so decoding cannot tell them apart."""
    return text.replace("▁", " ") if tokenizer is byte_fallback_style() else text


@pytest.mark.parametrize("policy", ["per_field", "shared_budget"])
@pytest.mark.parametrize("style", STYLES)
def test_every_battle_keeps_to_its_budget_its_text_and_its_mirror_image(style, policy):
    tokenizer = STYLES[style]()
    system_role = style == "llama"
    battle_tokenizer = BattleTokenizer(
        tokenizer, TEMPLATE, system_role=system_role, truncation=TRUNCATION, policy=policy
    )
    template = battle_tokenizer.template
    caps = {"per_field": (30, 35, 35), "shared_budget": (40, 104, 104)}[policy]
    seen: Counter[str] = Counter()

    @settings(
        max_examples=BATTLES_PER_CASE,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(battles)
    def check(battle):
        prompt, response_a, response_b = battle
        tokenized = battle_tokenizer.tokenize([battle, (prompt, response_b, response_a)])
        fields, mirrored = tokenized.fields(0), tokenized.fields(1)
        num_tokens = sum(map(len, fields))
        assert num_tokens + template.num_battle_overhead_tokens <= TRUNCATION.max_battle_tokens
        assert [ids.tolist() for ids in mirrored] == [fields[i].tolist() for i in (0, 2, 1)]
        for order, opposite in (("ab", "ba"), ("ba", "ab")):
            sequence = assemble_sequence(template, *fields, order)
            assert len(sequence) == template.num_constant_tokens + num_tokens
            assert len(sequence) <= battle_tokenizer.truncation.max_sequence_tokens
            assert sequence.tolist() == assemble_sequence(template, *mirrored, opposite).tolist()
        kept = tokenized.kept_tokens[0].tolist()
        found = [check_text(tokenizer, battle_tokenizer, *row) for row in zip(battle, fields, caps, kept, strict=True)]
        cut = [what["cut"] for what in found]
        original = tokenized.original_tokens[0]
        if policy == "per_field":
            assert cut == [length > cap for length, cap in zip(original, caps, strict=True)]
        else:
            assert any(cut) == (original.sum() > battle_tokenizer.truncation.max_field_tokens)
        seen.update({"battles": 1, "cut": any(cut), "whole": not any(cut)})
        seen.update({"control": any(what["control"] for what in found), "missing": None in battle})

    check()
    assert seen["battles"] >= BATTLES_PER_CASE
    for case in ("cut", "whole", "control", "missing"):
        assert seen[case] >= 30, seen  # guard: the interesting cases occurred
