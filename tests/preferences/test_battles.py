import json

import numpy as np
import pandas as pd
import pytest

from wsdm_arena import schemas
from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.folds import BattlesError
from wsdm_arena.preferences.raw_tables import RawTableError, find_files, read_raw_tables
from wsdm_arena.preferences.row_report import MAX_LISTED_ROWS, RowReport

CONFIG = PreferencesConfig(num_folds=2)


def _listed(report, reason):
    return [(row["row"], row["id"]) for row in report["rows"] if reason in row["reason"]]


def test_sound_votes_become_battles_in_their_order(raw):
    battles, report = build_battles(raw, CONFIG)
    schemas.Battles.validate(battles, lazy=True)
    assert battles["id"].tolist() == raw["id"].tolist()
    assert battles[["probability_a", "probability_b"]].to_numpy().tolist() == [[1, 0], [0, 1]] * 6
    assert set(battles["language"]) == {"en"}
    assert set(battles["source"]) == {"table"}
    assert battles["fold"].value_counts().tolist() == [6, 6]
    assert report["num_battles"] == report["num_rows"] == 12
    assert report["dropped"] == report["repaired"] == report["left_out"] == {}
    assert report["winners"] == {"model_a": 6, "model_b": 6}
    assert json.loads(json.dumps(report)) == report


def test_the_raw_frame_is_not_changed(raw):
    before = raw.copy()
    build_battles(raw, CONFIG)
    assert raw.equals(before)


def test_only_texts_and_winner_are_obligatory(raw):
    columns = ["prompt", "response_a", "response_b", "winner"]
    battles, _ = build_battles(raw[columns], CONFIG)
    schemas.Battles.validate(battles, lazy=True)
    assert battles["id"].equals(battles["battle_id"].rename("id"))
    assert battles["model_a"].isna().all()
    assert set(battles["language"]) == {"unknown"}
    for column in columns:
        with pytest.raises(RawTableError, match=f"no column '{column}'"):
            build_battles(raw.drop(columns=column), CONFIG)


def test_other_columns_pass_through_and_mixed_ones_become_storable(raw, tmp_path):
    mixed = [1, "two", None, [3], {"four": 4}, 5.0, True, "\ud800", b"nine", np.array([10]), "é", float("nan")]
    raw = raw.assign(turn=range(12), odd=pd.Series(mixed, dtype=object), text=pd.Series(["\ud800"] * 12, dtype=object))
    battles, _ = build_battles(raw, CONFIG)
    assert battles["turn"].tolist() == list(range(12))
    assert battles["odd"].iloc[:5].tolist()[1] == '"two"'
    assert battles["text"][0] == "\ufffd"
    battles.to_parquet(tmp_path / "battles.parquet")
    assert len(pd.read_parquet(tmp_path / "battles.parquet")) == 12


def test_large_integers_in_other_columns_keep_their_digits(raw, tmp_path):
    large = [2**53 + number for number in range(11)]
    huge = [2**80, *large]
    raw = raw.assign(user=pd.Series([*large, None], dtype=object), account=pd.Series(huge, dtype=object))
    battles, _ = build_battles(raw, CONFIG)
    battles.to_parquet(tmp_path / "battles.parquet")
    stored = pd.read_parquet(tmp_path / "battles.parquet")
    assert stored["user"].tolist()[:11] == large
    assert stored["user"].isna().tolist() == [False] * 11 + [True]
    assert stored["account"].tolist() == [str(number) for number in huge]


def test_ids_that_are_floats_too_large_to_be_exact_are_reported(raw):
    _, report = build_battles(raw.assign(id=[2.0**53 + 4 * number for number in range(12)]), CONFIG)
    assert report["repaired"] == {
        "id: a float above 2**53 read as a whole number, whose last digits may be lost": 11,
    }


def test_generated_columns_of_the_table_are_replaced_and_named(raw):
    battles, report = build_battles(raw.assign(fold=99, pair_id="mine"), CONFIG)
    assert battles["fold"].max() == 1
    assert report["replaced_columns"] == ["fold", "pair_id"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": None, "response_a": None, "response_b": None}, "prompt and both answers are null"),
        ({"winner": "model_c"}, "the winner is unknown"),
        ({"winner": None}, "the winner is unknown"),
        ({"response_a": "same", "response_b": "same"}, "the answers are identical"),
        ({"response_a": None, "response_b": None}, "the answers are identical"),
    ],
)
def test_one_bad_row_is_left_out_counted_listed_and_explained(raw, change, reason):
    for column, value in change.items():
        raw.loc[4, column] = value
    battles, report = build_battles(raw, CONFIG)
    assert len(battles) == 11
    assert "v4" not in set(battles["id"])
    assert report["dropped"] == {reason: 1}
    assert _listed(report, reason) == [(5, "v4")]


def test_null_answers_and_empty_texts_are_battles(raw):
    raw.loc[0, "response_a"] = None
    raw.loc[1, "response_b"] = ""
    raw.loc[2, "prompt"] = None
    raw.loc[3, "prompt"] = ""
    battles, report = build_battles(raw, CONFIG)
    assert len(battles) == 12
    assert pd.isna(battles["response_a"][0])
    assert battles["response_b"][1] == ""
    assert report["battles_with_a_null_answer"] == 1
    assert report["battles_with_an_empty_prompt"] == 2
    assert battles["prompt_group"][2] != battles["prompt_group"][3]


def test_cells_that_are_no_texts_are_converted_and_reported(raw):
    odd = [42, ["a", "b"], "half \ud83d pair", b"bytes"]
    raw["response_a"] = pd.Series([*odd, *raw["response_a"][4:]], dtype=object)
    raw["prompt"] = pd.Series([*raw["prompt"][:4], True, *raw["prompt"][5:]], dtype=object)
    battles, report = build_battles(raw, CONFIG)
    assert battles["response_a"][:4].tolist() == ["42", '["a", "b"]', "half \ufffd pair", "bytes"]
    assert battles["prompt"][4] == "True"
    assert report["repaired"] == {
        "response_a: int read as text": 1,
        "response_a: a list or record read as JSON": 1,
        "response_a: what is not UTF-8 replaced by U+FFFD": 1,
        "response_a: bytes read as UTF-8": 1,
        "prompt: bool read as text": 1,
    }


@pytest.mark.parametrize(
    "text", ["\x00", "<bos><start_of_turn>user", "\u202e", "a" * 1_000_000, "\n", "👩‍👩‍👧", "\ufeff"]
)
def test_hostile_texts_are_kept_verbatim(raw, text):
    raw.loc[0, "response_a"] = text
    assert build_battles(raw, CONFIG).battles["response_a"][0] == text


def test_an_unreadable_row_is_reported_with_its_file(tmp_path, raw):
    lines = raw.to_json(orient="records", lines=True).splitlines()
    (tmp_path / "votes.jsonl").write_text("\n".join([*lines[:3], "{broken", *lines[3:]]))
    battles, report = build_battles(read_raw_tables(find_files(tmp_path)), CONFIG)
    assert len(battles) == 12
    (row,) = report["rows"]
    assert row["row"] == 4
    assert row["file"] == str(tmp_path / "votes.jsonl")
    assert row["reason"] == "the row cannot be read"
    assert "not a JSON object" in row["detail"]


def test_many_unknown_winners_stop_the_run_and_name_values_rows_and_ids(raw):
    raw.loc[[2, 5, 7], "winner"] = ["left", "right", "0"]
    with pytest.raises(BattlesError) as refusal:
        build_battles(raw, CONFIG)
    for part in (
        "3 of 12 rows",
        "column winner",
        "winner='left'",
        "row 3 (id v2)",
        "row 6 (id v5)",
        "model_a, model_b and tie",
    ):
        assert part in str(refusal.value)


def test_many_unreadable_rows_stop_the_run(raw):
    raw["_fault"] = [None] * 8 + ["broken"] * 4
    with pytest.raises(BattlesError, match=r"4 of 12 rows cannot be read, more than 20%: table row 9 \(id v8\)"):
        build_battles(raw, CONFIG)


def test_a_column_of_numbers_is_no_column_of_answers(raw):
    with pytest.raises(
        BattlesError, match=r"column 'response_b' holds int64 instead of text in 12 of 12 rows: table row 1"
    ):
        build_battles(raw.assign(response_b=range(12)), CONFIG)


def test_an_id_of_two_battles_stops_the_run_and_names_both_rows(raw):
    raw.loc[7, "id"] = "v2"
    with pytest.raises(
        BattlesError, match=r"column 'id': 1 ids .*'v2'.*table row 3 \(id v2\); table row 8 \(id v2\)\. Give"
    ):
        build_battles(raw, CONFIG)


def test_an_id_may_occur_in_two_files(tmp_path, raw):
    raw.to_parquet(tmp_path / "a.parquet")
    raw.assign(response_a="another answer").to_parquet(tmp_path / "b.parquet")
    battles, report = build_battles(read_raw_tables(find_files(tmp_path)), CONFIG)
    assert len(battles) == 24
    assert battles["battle_id"].is_unique
    assert report["dropped"] == {}


def test_repeated_rows_are_battles_once(raw):
    battles, report = build_battles(pd.concat([raw, raw.iloc[[3, 5]]]), CONFIG)
    assert len(battles) == 12
    assert _listed(report, "repeats another") == [(13, "v3"), (14, "v5")]


def test_without_ids_equal_votes_are_repeats_and_different_votes_are_not(raw):
    raw = raw.drop(columns="id")
    repeat = raw.iloc[[0]]
    other_vote = raw.iloc[[0]].assign(winner="model_b")
    other_models = raw.iloc[[0]].assign(model_a="gamma")
    battles, report = build_battles(pd.concat([raw, repeat, other_vote, other_models]), CONFIG)
    assert len(battles) == 14
    assert report["dropped"] == {"the row repeats another": 1}


def test_the_same_pair_voted_on_twice_is_two_battles_of_one_pair(raw):
    again = raw.iloc[[0]].assign(id="second vote")
    battles, report = build_battles(pd.concat([raw, again]), CONFIG)
    assert len(battles) == 13
    assert battles["pair_id"].nunique() == report["num_pairs"] == 12
    assert battles["battle_id"].is_unique


@pytest.mark.parametrize(("policy", "num_battles"), [("drop", 10), ("half", 12), ("class", 12)])
def test_ties_follow_the_policy(raw, policy, num_battles):
    raw.loc[[0, 1], "winner"] = ["tie", "tie (bothbad)"]
    config = PreferencesConfig(num_folds=2, tie_policy=policy)
    battles, report = build_battles(raw, config)
    schemas.Battles.validate(battles, lazy=True)
    assert len(battles) == num_battles
    assert ("probability_tie" in battles) == (policy == "class")
    labels = battles.set_index("id").filter(like="probability_")
    expected = {"half": [0.5, 0.5], "class": [0, 0, 1]}
    if policy == "drop":
        assert report["left_out"] == {"ties (preferences.tie_policy: drop)": 2}
        assert report["rows"] == []
    else:
        assert labels.loc["v0"].tolist() == labels.loc["v1"].tolist() == expected[policy]


def test_one_hot_winners_are_understood(raw):
    one_hot = raw.drop(columns="winner").assign(
        winner_model_a=[1, 0] * 6, winner_model_b=[0, 1] * 5 + [0, 0], winner_tie=0
    )
    battles, report = build_battles(one_hot, CONFIG)
    assert battles["winner"].tolist() == ["model_a", "model_b"] * 5 + ["model_a"]
    assert report["rows"][0]["detail"] == "winner_model_a='0', winner_model_b='0', winner_tie='0'"
    assert not [column for column in battles if column.startswith("winner_")]


def test_ids_of_any_type_are_texts(raw):
    ids = [1, 2.0, "3", None, "", " ", 7, 8, 9, 10, 11, 12]
    battles, _ = build_battles(raw.assign(id=pd.Series(ids, dtype=object)), CONFIG)
    assert battles["id"][:3].tolist() == ["1", "2", "3"]
    assert battles["id"][3:6].tolist() == battles["battle_id"][3:6].tolist()


def test_turns_are_counted_in_flattened_conversations(raw):
    raw.loc[0, "prompt"] = "User: one\n\nAssistant: two\n\nUser: three"
    raw.loc[1, "prompt"] = "Explain this log:\nUser: root\nUser: guest"
    battles, _ = build_battles(raw, CONFIG)
    assert battles["num_turns"][:3].tolist() == [2, 1, 1]


def test_nothing_left_is_an_error_that_says_why(raw):
    with pytest.raises(BattlesError, match="no battles are left of 12 rows: the answers are identical: 12"):
        build_battles(raw.assign(response_a="same", response_b="same"), CONFIG)


def test_ids_do_not_depend_on_other_rows_or_on_the_file(tmp_path, raw):
    raw.to_csv(tmp_path / "a.csv", index=False)
    raw.iloc[::-1].to_parquet(tmp_path / "b.parquet")
    first, _ = build_battles(read_raw_tables([tmp_path / "a.csv"]), CONFIG)
    second, _ = build_battles(read_raw_tables([tmp_path / "b.parquet"]), CONFIG)
    ids = ["id", "pair_id", "battle_id", "prompt_group", "fold"]
    assert first[ids].equals(second[ids].iloc[::-1].reset_index(drop=True))


def test_a_long_report_counts_all_rows_and_lists_the_first():
    report = RowReport(pd.DataFrame(index=range(MAX_LISTED_ROWS + 5)))
    report.drop(np.ones(MAX_LISTED_ROWS + 5, dtype=bool), "why")
    recorded = report.to_dict()
    assert recorded["dropped"] == {"why": MAX_LISTED_ROWS + 5}
    assert len(recorded["rows"]) == MAX_LISTED_ROWS
    assert recorded["rows_not_listed"] == 5
