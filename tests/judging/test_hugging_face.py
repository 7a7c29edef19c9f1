"""Bundles are model directories that transformers reads by itself, with the logits that we get."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from tests.tiny_tokenizers import gemma_style, llama_style, save_tokenizer
from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.cards.model_card import Calibration, ModelCard, write_model_card
from wsdm_arena.config import HeadConfig, ResolvedJudge, TemplateConfig, TruncationConfig
from wsdm_arena.judging import hugging_face
from wsdm_arena.judging.bundle import Bundle, BundleError, BundlePrompt, write_bundle
from wsdm_arena.judging.hugging_face import describe_model
from wsdm_arena.modeling import checkpoint as checkpoint_module
from wsdm_arena.modeling.checkpoint import CheckpointError, load_judge, save_judge
from wsdm_arena.modeling.judge import JudgeModel, build_judge, new_judge
from wsdm_arena.modeling.sequence_classifier import choose_pad_token
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.prompts.template import require_answers
from wsdm_arena.prompts.tokenizers import load_tokenizer

FAMILIES = ("gemma2", "gemma3", "llama", "qwen2")
CLASSES = {
    "gemma2": "Gemma2ForSequenceClassification",
    "gemma3": "Gemma3TextForSequenceClassification",
    "llama": "LlamaForSequenceClassification",
    "qwen2": "Qwen2ForSequenceClassification",
}
BATTLES = [
    ("What is the capital of Austria?", "Wien.", "The quick brown fox jumps over the lazy dog."),
    ("二加二等于几？", "四。" * 3, "五"),
    ("<eos>[[A]]<start_of_turn>", "", None),
    ("Schreibe mehr. " * 30, "Wien " * 90, "Größe " * 90),
]
"""Of different lengths, the last one longer than windows and limits."""
PROMPT = BundlePrompt(
    template=TemplateConfig(
        instruction="Which answer is better?",
        battle_start="<battle>\n",
        prompt_heading="### User:\n",
        response_a_heading="\n\n### Assistant A:\n",
        response_b_heading="\n\n### Assistant B:\n",
        battle_end="\n</battle>",
        verdict_prefix="verdict is: [[",
    ),
    system_role=False,
    truncation=TruncationConfig(
        max_battle_tokens=160,
        marker="...",
        per_field={"max_prompt_tokens": 50, "max_response_tokens": 50},
        shared_budget={"reserved_tokens": 13, "max_prompt_tokens": 50},
    ),
    policy="shared_budget",
)


def family_config(family: str) -> PreTrainedConfig:
    """Small, with the family's peculiarities strong enough that whoever leaves one out gets other logits."""
    shape = {
        "vocab_size": 800,  # more than the tokenizers have
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
    }
    windows = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    if family == "gemma2":
        return Gemma2Config(**shape, **windows, query_pre_attn_scalar=16, attn_logit_softcapping=1.5)
    if family == "gemma3":
        rotary = {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        }
        return Gemma3TextConfig(**shape, **windows, query_pre_attn_scalar=16, rope_parameters=rotary)
    if family == "qwen2":
        return Qwen2Config(**shape, use_sliding_window=True, sliding_window=24, max_window_layers=1)
    rotary = {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    return LlamaConfig(**shape, rope_parameters=rotary)


def tokenizer_of(family: str):
    return gemma_style() if family.startswith("gemma") else llama_style()


def make_checkpoint(
    directory: Path,
    family: str,
    *,
    kind: str = "linear",
    num_classes: int = 2,
    sliding_window: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A judge whose weights are large enough for tokens to matter to one another."""
    judge = new_judge(
        family_config(family),
        head=HeadConfig(kind=kind),
        num_classes=num_classes,
        seed=1,
        attention="segments",
        sliding_window=sliding_window,
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    tokenizer = save_tokenizer(tokenizer_of(family), directory.parent / f"{directory.name}.tokenizer")
    return save_judge(judge.to(dtype), directory, tokenizer_dir=tokenizer, manifest={"fingerprint": "abc"})


def bundle_of(checkpoint: Path, target: Path, **changes) -> Path:
    values = {"prompt": PROMPT, "layouts": ["plain"], "temperature": 1.25, "calibration": {}, "provenance": {}}
    return write_bundle(target, checkpoint=checkpoint, **(values | changes))


def read_battles(tokenizer_dir: Path, prompt: BundlePrompt = PROMPT) -> list[list[int]]:
    """Token ids of every battle in both orders, as our own tokenisation gives them."""
    texts = pd.DataFrame(BATTLES, columns=["prompt", "response_a", "response_b"])
    store = TokenStore.open(
        build_token_store(
            texts.assign(pair_id=[str(number) for number in range(len(texts))]),
            table="battles",
            tokenizer_dir=tokenizer_dir,
            template=prompt.template,
            system_role=prompt.system_role,
            truncation=prompt.truncation,
            policy=prompt.policy,
            root=tokenizer_dir.parent / "tokens",
        )
    )
    return [store.sequence(row, order).tolist() for row in range(len(texts)) for order in ("ab", "ba")]


def our_logits(judge: JudgeModel, sequences: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return judge(PackedBatch.from_sequences([np.array(sequence) for sequence in sequences]))


def their_logits(model, sequences: list[list[int]], *, side: str = "right") -> torch.Tensor:
    """Of transformers' model, with padding on one side."""
    longest, padding = max(map(len, sequences)), model.config.pad_token_id
    ids = torch.full((len(sequences), longest), padding)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(0, len(sequence)) if side == "right" else slice(longest - len(sequence), longest)
        ids[row, place] = torch.tensor(sequence)
        mask[row, place] = 1
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits


def load_theirs(path: Path, **options):
    model, info = AutoModelForSequenceClassification.from_pretrained(
        path, attn_implementation="eager", output_loading_info=True, **options
    )
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("kind", "sliding_window", "num_classes"), [("linear", True, 2), ("linear", False, 3), ("verbalizer", True, 2)]
)
def test_transformers_reads_a_linear_judge(family, kind, sliding_window, num_classes, tmp_path):
    source = make_checkpoint(
        tmp_path / "checkpoint", family, kind=kind, num_classes=num_classes, sliding_window=sliding_window
    )
    path = bundle_of(source, tmp_path / "bundle")
    sequences = read_battles(source)
    expected = our_logits(load_judge(source).eval(), sequences)
    model = load_theirs(path)
    assert type(model).__name__ == CLASSES[family]
    assert expected.shape == (8, num_classes)
    assert expected.std(dim=0).min() > 0.05  # sequences are told apart
    for side in ("right", "left"):
        torch.testing.assert_close(their_logits(model, sequences, side=side), expected, rtol=0, atol=1e-4)
    alone = torch.cat([their_logits(model, [sequence]) for sequence in sequences])
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-4)
    again = our_logits(Bundle.open(path, verify_checksums=True).load_judge(), sequences)
    assert torch.equal(again, expected)
    assert torch.equal(our_logits(load_judge(path).eval(), sequences), expected)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama"])
def test_a_language_model_becomes_a_classifier_that_says_what_it_says(family, tied, tmp_path):
    """From a causal language model to a fresh verbalizer, its bundle and back: three times the same logits."""
    config = family_config(family)
    config.tie_word_embeddings, config.final_logit_softcapping = tied, None
    torch.manual_seed(0)
    language_model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in language_model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    language_model.save_pretrained(tmp_path / "model")
    save_tokenizer(tokenizer_of(family), tmp_path / "model")
    answers = require_answers(load_tokenizer(tmp_path / "model"), PROMPT.template)
    head = HeadConfig(kind="verbalizer")
    judge = build_judge(tmp_path / "model", head=head, num_classes=2, answer_ids=answers, attention="segments")
    source = save_judge(
        judge, tmp_path / "checkpoint", tokenizer_dir=tmp_path / "model", manifest={"fingerprint": "abc"}
    )
    path = bundle_of(source, tmp_path / "bundle")
    sequences = read_battles(source)
    ours = our_logits(judge.eval(), sequences)
    assert ours.std(dim=0).min() > 0.05
    with torch.no_grad():
        written = [language_model(torch.tensor([sequence])).logits[0, -1, list(answers)] for sequence in sequences]
    torch.testing.assert_close(ours, torch.stack(written), rtol=0, atol=1e-4)
    torch.testing.assert_close(their_logits(load_theirs(path), sequences), ours, rtol=0, atol=1e-4)
    assert torch.equal(our_logits(Bundle.open(path, verify_checksums=True).load_judge(), sequences), ours)


def test_the_configuration_says_what_classes_are(tmp_path):
    path = bundle_of(make_checkpoint(tmp_path / "checkpoint", "gemma2", num_classes=3), tmp_path / "bundle")
    config = json.loads((path / "config.json").read_text())
    assert config["architectures"] == ["Gemma2ForSequenceClassification"]
    assert config["id2label"] == {"0": "first_answer_preferred", "1": "second_answer_preferred", "2": "tie"}
    assert config["label2id"] == {name: int(number) for number, name in config["id2label"].items()}
    assert (config["problem_type"], config["dtype"]) == ("single_label_classification", "float32")
    assert load_theirs(path).config.num_labels == 3
    keys = set(load_file(path / "model.safetensors"))
    assert {key for key in keys if not key.startswith("model.")} == {"score.weight"}
    assert not (path / "head.safetensors").exists()


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_tokenizer_files_stay_as_they_are_and_know_the_padding(family, tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", family)
    path = bundle_of(source, tmp_path / "bundle")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (path / name).read_bytes() == (source / name).read_bytes()
    tokenizer, padding = load_tokenizer(path), json.loads((path / "config.json").read_text())["pad_token_id"]
    assert padding in tokenizer.all_special_ids
    assert tokenizer.pad_token_id in (padding, None)
    assert all(sequence[-1] != padding for sequence in read_battles(source))


def test_padding_is_never_what_prompts_end_with():
    tokenizer, config = gemma_style(), family_config("gemma2")
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    assert choose_pad_token(tokenizer, config, last_token=-1) == pad
    assert choose_pad_token(tokenizer, config, last_token=pad) == eos
    config.pad_token_id = 500
    assert choose_pad_token(tokenizer, config, last_token=pad) == 500
    config.pad_token_id = 799  # the model has such an embedding, the tokenizer no such token
    assert choose_pad_token(tokenizer, config, last_token=pad) == eos
    tokenizer = llama_style()
    assert tokenizer.pad_token_id is None
    assert choose_pad_token(tokenizer, family_config("llama"), last_token=-1) == tokenizer.eos_token_id


def test_older_versions_of_transformers_find_their_words(tmp_path):
    """Version 4 reads these, and takes defaults where they are missing; it is not installed here."""

    def config_of(family: str, **options) -> dict:
        source = make_checkpoint(tmp_path / f"{family}-{len(options)}", family, **options)
        return json.loads((bundle_of(source, tmp_path / f"{source.name}.bundle") / "config.json").read_text())

    llama = config_of("llama", kind="mlp")
    assert llama["rope_theta"] == 500.0
    assert llama["rope_scaling"] == {k: v for k, v in llama["rope_parameters"].items() if k != "rope_theta"}
    assert llama["architectures"] == ["LlamaModel"]
    gemma = config_of("gemma3")
    assert (gemma["rope_theta"], gemma["rope_local_base_freq"]) == (10_000.0, 100.0)
    assert config_of("gemma2")["sliding_window"] == 24
    assert config_of("gemma2", sliding_window=False)["sliding_window"] == 1024  # as wide as the model can read


def test_weights_in_several_files_are_the_same_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "MAX_SHARD_SIZE", 40_000)
    source = make_checkpoint(tmp_path / "checkpoint", "gemma2")
    assert len(list(source.glob("model-*.safetensors"))) > 2
    sequences = read_battles(source)
    expected = our_logits(load_judge(source).eval(), sequences)
    for number, size in enumerate((40_000, "4GB")):
        monkeypatch.setattr(hugging_face, "MAX_SHARD_SIZE", size)
        path = bundle_of(source, tmp_path / f"bundle-{number}")
        files = {file.name for file in path.iterdir()} - {"head.safetensors"}
        assert (size == "4GB") == ("model.safetensors" in files) == ("model.safetensors.index.json" not in files)
        assert set(json.loads((path / "manifest.json").read_text())["files"]) == files - {"manifest.json"}
        assert torch.equal(our_logits(Bundle.open(path).load_judge(), sequences), expected)
        torch.testing.assert_close(their_logits(load_theirs(path), sequences), expected, rtol=0, atol=1e-4)


def test_both_layouts_of_a_linear_judge_are_one_judge(tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", "llama", dtype=torch.bfloat16)
    path = bundle_of(source, tmp_path / "bundle", layouts=["plain", "fused"])
    sequences = read_battles(source)
    expected = our_logits(load_judge(source, dtype="float32").eval(), sequences)
    bundle = Bundle.open(path)
    assert torch.equal(our_logits(bundle.load_judge(dtype="float32"), sequences), expected)
    halved = bundle.load_judge(dtype="float16")  # of the fused layout
    assert {parameter.dtype for parameter in halved.parameters()} == {torch.float16}
    torch.testing.assert_close(our_logits(halved, sequences), expected, rtol=0.05, atol=0.05)
    model = load_theirs(path, dtype="auto")
    assert model.dtype == torch.bfloat16
    torch.testing.assert_close(their_logits(model.float(), sequences), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("key", ["backbone.layers.0.mlp.up_proj.weight", "head.output.weight"])
def test_a_number_too_large_for_float16_is_named_in_this_layout_too(key, tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", "llama")
    judge = load_judge(source)
    with torch.no_grad():
        judge.get_parameter(key)[0, 0] = 1e5
    save_judge(judge, source, tokenizer_dir=tmp_path / "checkpoint.tokenizer", manifest={"fingerprint": "abc"})
    path = bundle_of(source, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match=rf"{key.partition('.')[2]} holds 100000"):
        load_judge(path, dtype="float16")


def test_a_changed_byte_of_the_weights_is_refused_by_name(tmp_path):
    path = bundle_of(make_checkpoint(tmp_path / "checkpoint", "llama"), tmp_path / "bundle", card="# A judge\n")
    assert Bundle.open(path).manifest["format"] == 2
    for name in ("model.safetensors", "config.json"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=rf"{re.escape(name)} is damaged"):
            Bundle.open(path)
        (path / name).write_bytes(content)
    fingerprint = Bundle.open(path).fingerprint
    (path / "README.md").write_text("# What people have made of the card\n")
    assert Bundle.open(path).fingerprint == fingerprint
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(BundleError, match=r"manifest\.json has format 1, this version reads 2"):
        Bundle.open(path)


def card_of(checkpoint: Path) -> str:
    facts = describe_model(checkpoint)
    judge = {"stage": "final", "judge": "gemma", "system_role": False, "attention": "auto", "training": {}}
    head = json.loads((checkpoint / "manifest.json").read_text())["head"]
    judge |= {"sliding_window": True, "truncation": "shared_budget", "head": head}
    contents = ModelCard(
        judge=ResolvedJudge.model_validate(judge),
        layouts=["plain"],
        template=PROMPT.template,
        truncation=PROMPT.truncation,
        calibration=Calibration(temperature=1.25),
        **vars(facts),
    )
    return write_model_card(contents)


def snippets_of(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", card, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("mlp", "gemma2"),
        ("mlp", "gemma3"),
        ("mlp", "llama"),
        ("mlp", "qwen2"),
        ("linear", "gemma2"),
        ("verbalizer", "llama"),
    ],
)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_code_in_the_card_gives_our_logits(kind, family, num_classes, tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", family, kind=kind, num_classes=num_classes)
    path = bundle_of(source, tmp_path / "bundle", card=card_of(source))
    snippet, averaging = snippets_of((path / "README.md").read_text())[-2:]
    assert len(snippet.splitlines()) <= 25
    assert not re.search("wsdm_arena", snippet)
    sequences = read_battles(source)
    expected = our_logits(load_judge(source).eval(), sequences)
    names: dict = {}
    assert snippet.count('path = "bundle"') == 1
    exec(snippet.replace('path = "bundle"', f"path = {str(path)!r}"), names)
    torch.testing.assert_close(names["read"](sequences), expected, rtol=0, atol=1e-4)

    names |= {"first_order": sequences[0], "second_order": sequences[1]}
    exec(averaging, names)
    calibrated = (expected[:2] / 1.25).softmax(dim=-1)
    swapped = [1, 0, 2][:num_classes]
    torch.testing.assert_close(
        names["probabilities"][0], (calibrated[0] + calibrated[1, swapped]) / 2, atol=1e-5, rtol=0
    )


def test_the_documents_show_the_code_of_the_cards(tmp_path):
    shown = snippets_of((Path(__file__).parents[2] / "docs" / "export.md").read_text())
    for kind in ("mlp", "linear", "verbalizer"):
        snippet = snippets_of(card_of(make_checkpoint(tmp_path / kind, "llama", kind=kind)))[-2]
        assert snippet in shown


def test_weights_of_other_heads_stay_links(tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", "llama", kind="mlp")
    path = bundle_of(source, tmp_path / "bundle")
    assert (path / "model.safetensors").samefile(source / "model.safetensors")
    assert (path / "head.safetensors").samefile(source / "head.safetensors")


def test_a_family_without_a_classifier_keeps_its_head_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(hugging_face, "classifier_class", lambda *_: None)
    source = make_checkpoint(tmp_path / "checkpoint", "llama")
    path = bundle_of(source, tmp_path / "bundle")
    sequences = read_battles(source)
    expected = our_logits(load_judge(source).eval(), sequences)
    assert torch.equal(our_logits(Bundle.open(path).load_judge(), sequences), expected)
    code = snippets_of(card_of(make_checkpoint(tmp_path / "other", "llama", kind="mlp")))[-2]
    names: dict = {}
    exec(code.replace('path = "bundle"', f"path = {str(path)!r}"), names)
    torch.testing.assert_close(names["read"](sequences), expected, rtol=0, atol=1e-4)
