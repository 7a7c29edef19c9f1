import numpy as np
import pandas as pd
import pytest

from wsdm_arena.scoring.slices import LENGTHS, MAX_MODEL_PAIRS, MIN_SLICE_BATTLES, find_slices, length_bins


def _battles(num: int = 100, **columns) -> pd.DataFrame:
    names = [f"{number:032x}" for number in range(num)]
    return pd.DataFrame({"pair_id": names, "id": [f"v{number}" for number in range(num)]} | columns)


def _sizes(battles: pd.DataFrame, **options) -> dict[str, int]:
    return {part.name: int(part.mask.sum()) for part in find_slices(battles, **options)}


def test_values_of_a_column_are_slices_the_largest_first_and_small_ones_left_out():
    rest = 100 - 31 - MIN_SLICE_BATTLES
    languages = ["ru"] * MIN_SLICE_BATTLES + ["en"] * 31 + ["de"] * (MIN_SLICE_BATTLES - 1)
    languages += [None] * (rest - MIN_SLICE_BATTLES + 1)
    found = list(find_slices(_battles(language=languages)))
    assert [part.name for part in found] == ["", "language=en", "language=ru"]
    assert np.flatnonzero(found[1].mask).tolist() == list(range(30, 61))
    assert found[1].mask.dtype == bool
    assert found[1].labels is None


def test_equally_large_slices_come_by_name_whatever_the_order_of_rows():
    battles = _battles(language=["ru", "en"] * 50)
    assert list(_sizes(battles)) == list(_sizes(battles.iloc[::-1])) == ["", "language=en", "language=ru"]


@pytest.mark.parametrize("language", ["en", None])
def test_a_value_that_all_battles_share_is_no_slice(language):
    assert _sizes(_battles(language=language, source="one")) == {"": 100}


def test_a_mask_stands_in_the_order_of_rows_whatever_their_index():
    battles = _battles(source=["x"] * 40 + ["y"] * 60).sample(frac=1, random_state=0)
    parts = {part.name: part.mask for part in find_slices(battles)}
    assert (parts["source=y"] == (battles["source"] == "y").to_numpy()).all()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("abcd", "abcd", 0),
        ("abcdefghi", "abcdefghijk", 0),  # 1.22
        ("abcd", "abcde", 1),  # 1.25
        ("abcdefgh", "abcd", 1),  # 2
        ("abcdefghi", "abcd", 2),
        ("", "", 0),
        ("", "a", 0),
        ("", "ab", 1),
        ("abc", "", 2),
        (None, "abc", 2),
        (None, None, 0),
        ("\u4f60\u597d", "ab", 0),  # characters, not bytes
    ],
)
def test_length_bins_count_characters_of_the_longer_against_the_shorter(first, second, expected):
    for dtype in ("object", "str"):
        columns = {"response_a": pd.Series([first], dtype=dtype), "response_b": pd.Series([second], dtype=dtype)}
        assert length_bins(pd.DataFrame(columns)).tolist() == [LENGTHS[expected]]
        swapped = {"response_a": columns["response_b"], "response_b": columns["response_a"]}
        assert length_bins(pd.DataFrame(swapped)).tolist() == [LENGTHS[expected]]


def test_lengths_are_slices_without_nulls():
    responses = {"response_a": ["abc"] * 100, "response_b": ["abc"] * 40 + [""] * 30 + [None] * 30}
    assert _sizes(_battles(**responses)) == {"": 100, "length=beyond 2x": 60, "length=alike": 40}


def test_models_are_paired_whichever_was_a_and_unknown_ones_left_out():
    first = ["gpt"] * 20 + ["llama"] * 20 + ["gpt"] * 40 + [None] * 20
    second = ["llama"] * 20 + ["gpt"] * 20 + ["gemma"] * 35 + [None] * 5 + ["gpt"] * 20
    assert _sizes(_battles(model_a=first, model_b=second)) == {
        "": 100,
        "models=gpt vs llama": 40,
        "models=gemma vs gpt": 35,
    }


def test_only_the_most_frequent_pairs_of_models_are_slices():
    numbers = np.repeat(np.arange(MAX_MODEL_PAIRS + 5), MIN_SLICE_BATTLES)
    names = [f"m{number:02d}" for number in numbers]
    extra = ["m24"] * 3  # the last by name, but the most frequent
    battles = _battles(len(names) + 3, model_a=names + extra, model_b="z")
    found = _sizes(battles)
    expected = ["m24", *(f"m{number:02d}" for number in range(MAX_MODEL_PAIRS - 1))]
    assert list(found) == ["", *(f"models={name} vs z" for name in expected)]
    assert list(_sizes(battles.sample(frac=1, random_state=1))) == list(found)


def test_truncated_pairs_are_told_by_key_and_unread_ones_left_out():
    battles = _battles()
    truncated = pd.Series([True] * 35 + [False] * 45, index=battles["pair_id"][:80]).sample(frac=1, random_state=0)
    assert _sizes(battles, truncated=truncated) == {"": 100, "truncated=no": 45, "truncated=yes": 35}
    assert _sizes(battles, truncated=truncated & False) == {"": 100}
    assert _sizes(battles, truncated=truncated[:0]) == {"": 100}


def test_a_pair_that_was_voted_on_twice_is_in_its_slice_twice():
    battles = pd.concat([_battles(50), _battles(50)])
    truncated = pd.Series([True] * 20 + [False] * 30, index=_battles(50)["pair_id"])
    assert _sizes(battles, truncated=truncated) == {"": 100, "truncated=no": 60, "truncated=yes": 40}


@pytest.mark.parametrize("num_classes", [2, 3])
def test_flaws_are_slices_whose_label_is_the_sound_answer(num_classes):
    battles = _battles()
    flaw_a = ["refusal"] * 20 + ["none"] * 60 + ["refusal"] * 20
    flaw_b = ["none"] * 20 + ["refusal"] * 15 + ["none"] * 45 + ["off_topic"] * 20  # the last have two flaws
    truth = pd.DataFrame({"id": battles["id"], "flaw_a": flaw_a, "flaw_b": flaw_b}).sample(frac=1, random_state=0)
    _, part = find_slices(battles, truth=truth, num_classes=num_classes)
    assert part.name == "flaw=refusal vs none"
    assert np.flatnonzero(part.mask).tolist() == list(range(35))
    assert part.labels.shape == (100, num_classes)
    assert part.labels[:20, 1].all()
    assert part.labels[20:35, 0].all()
    assert (part.labels[:35].sum(axis=1) == 1).all()


def test_battles_that_the_truth_does_not_know_have_no_flaw():
    battles = _battles()
    truth = pd.DataFrame({"id": battles["id"][:40], "flaw_a": "refusal", "flaw_b": "none"})
    assert _sizes(battles, truth=truth) == {"": 100, "flaw=refusal vs none": 40}
    assert _sizes(battles, truth=truth.head(MIN_SLICE_BATTLES - 1)) == {"": 100}
    assert _sizes(battles, truth=None) == _sizes(battles, truth=pd.DataFrame()) == {"": 100}
