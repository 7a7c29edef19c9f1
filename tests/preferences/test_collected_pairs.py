import pandas as pd
import pytest

from wsdm_arena import schemas
from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.collected_pairs import build_collected_pairs, reserved_prompt_groups
from wsdm_arena.preferences.pair_ids import prompt_group
from wsdm_arena.preferences.raw_tables import RawTableError, find_files, read_raw_tables
from wsdm_arena.preferences.test_pairs import build_test_pairs

PREFERENCES = PreferencesConfig(num_folds=3)


@pytest.fixture
def battles(raw) -> pd.DataFrame:
    return build_battles(raw, PREFERENCES).battles


@pytest.fixture
def test_pairs() -> pd.DataFrame:
    table = {"id": ["t"], "prompt": ["a test prompt"], "response_a": ["x"], "response_b": ["y"]}
    return build_test_pairs(pd.DataFrame(table)).test_pairs


def table(prompts: list[str | None], **columns) -> pd.DataFrame:
    answers = {f"response_{side}": [f"{side} {number}" for number in range(len(prompts))] for side in "ab"}
    texts = {"prompt": prompts, **answers}
    return pd.DataFrame(texts | columns)


def test_prompts_of_the_held_out_fold_and_of_the_test_pairs_are_left_out(battles, test_pairs):
    held_out = battles.loc[battles["fold"] == 0, "prompt"].tolist()
    others = battles.loc[battles["fold"] != 0, "prompt"].tolist()
    assert held_out
    assert others
    raw = table([*held_out, *others, "a test prompt", "a new one"])
    pairs, report = build_collected_pairs(raw, battles, test_pairs, PREFERENCES)
    assert set(pairs["prompt"]) == {*others, "a new one"}
    assert report["left_out"] == {
        "the prompt is one of the held-out battles": len(held_out),
        "the prompt is one of the test pairs": 1,
    }
    for groups in reserved_prompt_groups(battles, test_pairs, PREFERENCES).values():
        assert not set(pairs["prompt_group"]) & groups


def test_another_held_out_fold_leaves_out_others(battles, test_pairs):
    raw = table(battles["prompt"].tolist())
    others = [PREFERENCES.model_copy(update={"held_out_fold": fold}) for fold in range(3)]
    kept = [set(build_collected_pairs(raw, battles, test_pairs, other)[0]["prompt"]) for other in others]
    assert set.union(*kept) == set(battles["prompt"])
    assert not set.intersection(*kept)


def test_bad_rows_are_counted_and_good_ones_are_pairs(battles, test_pairs):
    raw = table(["p", "q", "r", None, "p"], model_a="m", language=["English", "ru", None, None, "English"])
    raw.loc[1, "response_b"] = raw.loc[1, "response_a"]
    raw.loc[2, "response_a"] = None
    raw.loc[4, ["response_a", "response_b"]] = raw.loc[0, ["response_a", "response_b"]].to_numpy()
    pairs, report = build_collected_pairs(raw, battles, test_pairs, PREFERENCES)
    schemas.UnlabelledPairs.validate(pairs, lazy=True)
    assert pairs["prompt"].tolist() == ["p"]
    assert pairs["language"].tolist() == ["en"]
    assert pairs["prompt_group"].tolist() == [prompt_group("p")]
    assert report["dropped"] == {
        "prompt or answer is null": 2,
        "the answers are identical": 1,
        "the row repeats another": 1,
    }
    assert report["num_collected_pairs"] == 1


def test_the_order_of_rows_makes_no_difference(battles, test_pairs):
    raw = table([f"new {number}" for number in range(20)])
    once = build_collected_pairs(raw, battles, test_pairs, PREFERENCES).collected_pairs
    again = build_collected_pairs(raw[::-1], battles, test_pairs, PREFERENCES).collected_pairs
    pd.testing.assert_frame_equal(once, again)


def test_no_file_at_all_is_a_table_without_pairs(battles, test_pairs):
    empty = pd.DataFrame({name: pd.Series(dtype="str") for name in ("prompt", "response_a", "response_b")})
    pairs, report = build_collected_pairs(empty, battles, test_pairs, PREFERENCES)
    schemas.UnlabelledPairs.validate(pairs, lazy=True)
    assert len(pairs) == report["num_collected_pairs"] == 0


def test_two_files_are_one_table_and_an_unreadable_row_is_named(tmp_path, battles, test_pairs):
    (tmp_path / "1.jsonl").write_text('{"prompt": "p", "response_a": "a", "response_b": "b"}\n{broken\n')
    (tmp_path / "2.jsonl").write_text('{"prompt": "q", "response_a": "a", "response_b": "b"}\n')
    pairs, report = build_collected_pairs(read_raw_tables(find_files(tmp_path)), battles, test_pairs, PREFERENCES)
    assert sorted(pairs["prompt"]) == ["p", "q"]
    assert report["dropped"] == {"the row cannot be read": 1}


def test_a_missing_column_is_refused(battles, test_pairs):
    with pytest.raises(RawTableError, match="no column 'response_a'"):
        build_collected_pairs(table(["p"]).drop(columns="response_a"), battles, test_pairs, PREFERENCES)
