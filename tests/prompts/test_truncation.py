"""What each text may take, and which of its tokens stay."""

import numpy as np
import pytest

from wsdm_arena.config import TruncationConfig
from wsdm_arena.prompts.template import RenderedTemplate
from wsdm_arena.prompts.tokenizers import PromptError
from wsdm_arena.prompts.truncation import cut_middle, plan_truncation

MARKER = (90, 91, 92)
TEMPLATE = RenderedTemplate(
    before_prompt=(1, 2, 3, 4),
    before_response_a=(5, 6),
    before_response_b=(7, 8),
    after_battle=(9, 10),
    missing=(11,),
    marker=MARKER,
    num_battle_overhead_tokens=6,
)


def config(**changes):
    values = {
        "max_battle_tokens": 110,
        "marker": "...",
        "per_field": {"max_prompt_tokens": 20, "max_response_tokens": 40},
        "shared_budget": {"reserved_tokens": 10, "max_prompt_tokens": 30},
    }
    return TruncationConfig.model_validate(values | changes)


def allot(policy, *lengths, **changes):
    return plan_truncation(config(**changes), policy, TEMPLATE).allot(np.array(lengths, dtype=np.int64)).tolist()


def test_per_field_caps_each_text_on_its_own():
    assert allot("per_field", (5, 41, 40), (20, 0, 1000), (21, 3, 3)) == [[5, 40, 40], [20, 0, 40], [20, 3, 3]]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((40, 30, 30), (40, 30, 30)),  # fits: a prompt beyond its cap is left alone
        ((0, 0, 100), (0, 0, 100)),
        ((41, 30, 30), (30, 30, 30)),  # over by one: the prompt is capped and nothing else need go
        ((200, 10, 10), (30, 10, 10)),
        ((50, 100, 100), (30, 35, 35)),
        ((50, 100, 101), (30, 34, 35)),  # 34.8 and 35.2, rounded down
        ((10, 30, 90), (10, 22, 67)),  # the prompt leaves 90 for 120
        ((10, 90, 30), (10, 67, 22)),
        ((0, 1, 1000), (0, 1, 99)),
        ((0, 1000, 4), (0, 96, 4)),  # a share of 0.4 would lose the whole answer
        ((0, 60, 100_000), (0, 5, 95)),
        ((1_000_000, 1_000_000, 1_000_000), (30, 35, 35)),
    ],
)
def test_shared_budget_cuts_only_what_exceeds_it_together(lengths, expected):
    assert allot("shared_budget", lengths) == [list(expected)]


def test_shared_budget_holds_for_any_lengths_and_treats_both_responses_alike():
    generator = np.random.default_rng(0)
    lengths = (10 ** generator.uniform(0, 5, (20_000, 3))).astype(np.int64) - 1
    plan = plan_truncation(config(), "shared_budget", TEMPLATE)
    shares = plan.allot(lengths)
    over = lengths.sum(axis=1) > 100
    assert 5_000 < over.sum() < 19_500  # guard: both cases occur
    assert (shares.sum(axis=1) <= 100).all()
    assert ((shares >= 0) & (shares <= lengths)).all()
    assert (shares[~over] == lengths[~over]).all()
    assert (shares[:, 1:] >= np.minimum(lengths[:, 1:], 5)).all()
    assert (plan.allot(lengths[:, [0, 2, 1]]) == shares[:, [0, 2, 1]]).all()
    squeezed = over & (np.minimum(lengths[:, 0], 30) + lengths[:, 1:].sum(axis=1) > 100)
    assert (shares[squeezed].sum(axis=1) >= 99).all()  # no more than one token is lost to rounding


def cut(ids, max_tokens, marker=MARKER, inside=()):
    starts = np.ones(100, dtype=bool)
    starts[list(inside)] = False
    shortened, kept = cut_middle(np.array(ids, dtype=np.int32), max_tokens, np.array(marker, dtype=np.int32), starts)
    return shortened.tolist(), kept


def test_the_middle_gives_way_to_the_marker():
    assert cut(range(10), 10) == (list(range(10)), 10)
    assert cut(range(10), 9) == ([0, 1, 2, *MARKER, 7, 8, 9], 6)
    assert cut(range(10), 8) == ([0, 1, 2, *MARKER, 8, 9], 5)
    assert cut(range(10), 5) == ([0, *MARKER, 9], 2)
    assert cut(range(10), 6, marker=()) == ([0, 1, 2, 7, 8, 9], 6)


def test_a_text_that_is_one_token_too_long_does_not_grow_or_repeat_itself():
    for length in range(11, 30):
        shortened, kept = cut(range(length), 10)
        assert len(shortened) <= 10
        assert len(set(shortened)) == len(shortened) == kept + 3


def test_cuts_leave_out_characters_whose_tokens_would_be_separated():
    # Characters are 0, (1 2), 3, (4 5 6), 7, (8 9).
    inside = (2, 5, 6, 9)
    assert cut(range(10), 9, inside=inside) == ([0, 1, 2, *MARKER, 7, 8, 9], 6)
    assert cut(range(10), 7, inside=inside) == ([0, *MARKER, 8, 9], 3)
    assert cut(range(10), 6, inside=inside) == ([0, *MARKER], 1)
    assert cut([1, 2, 2, 2, 2, 2], 5, inside=inside) == (list(MARKER), 0)


def test_the_bound_of_a_sequence_is_what_texts_and_constant_text_can_take():
    assert plan_truncation(config(), "per_field", TEMPLATE).max_sequence_tokens == 20 + 40 + 40 + 10
    assert plan_truncation(config(), "shared_budget", TEMPLATE).max_sequence_tokens == 100 + 10


def test_headings_longer_than_what_is_reserved_for_them_are_taken_from_the_texts(caplog):
    caplog.set_level("INFO")
    shared = {"reserved_tokens": 4, "max_prompt_tokens": 30}
    plan = plan_truncation(config(shared_budget=shared), "shared_budget", TEMPLATE)
    assert plan.max_field_tokens == 110 - 6
    assert "reserved_tokens=4, but the headings take 6 tokens" in caplog.text


def test_caps_and_headings_beyond_the_battle_are_refused_with_the_numbers():
    with pytest.raises(PromptError, match=r"may take 100 tokens and the headings take 6, .* max_battle_tokens=105"):
        plan_truncation(config(max_battle_tokens=105), "per_field", TEMPLATE)
    plan_truncation(config(max_battle_tokens=106), "per_field", TEMPLATE)


def test_a_marker_that_leaves_no_room_for_text_is_refused():
    long_marker = RenderedTemplate(**{**TEMPLATE.__dict__, "marker": tuple(range(19))})
    with pytest.raises(PromptError, match=r"cap of 20 tokens .* marker '...', which takes 19 tokens"):
        plan_truncation(config(), "per_field", long_marker)
    with pytest.raises(PromptError, match=r"prompt may take 90 .* responses 10, but each needs 21"):
        plan_truncation(
            config(
                shared_budget={"reserved_tokens": 0, "max_prompt_tokens": 90},
                max_battle_tokens=106,
            ),
            "shared_budget",
            long_marker,
        )
