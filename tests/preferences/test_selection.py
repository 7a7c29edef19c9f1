import pandas as pd
import pytest

from wsdm_arena import schemas
from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.folds import BattlesError
from wsdm_arena.preferences.language_split import split_by_language
from wsdm_arena.preferences.pair_ids import prompt_group
from wsdm_arena.preferences.selection import (
    select_final_held_out_rows,
    select_final_rows,
    select_pretraining_rows,
    select_student_rows,
    select_teacher_rows,
)

PREFERENCES = PreferencesConfig(num_folds=3, held_out_fold=1, hold_back_every=2)
NO_TEST_PAIRS = pd.DataFrame({"prompt": pd.Series(dtype="str")})


@pytest.fixture
def battles(raw) -> pd.DataFrame:
    raw.loc[raw.index % 3 == 0, "language"] = "Russian"
    return build_battles(raw, PREFERENCES).battles


def labels(*names: str) -> pd.DataFrame:
    ids = [f"{name * 32}" for name in names]
    frame = {"pair_id": ids, "prompt_group": ids, "probability_a": 0.75, "probability_b": 0.25}
    return pd.DataFrame(frame).astype({"pair_id": "str", "prompt_group": "str"})


def counts(selection: pd.DataFrame) -> dict[tuple[str, str, int], int]:
    schemas.Selection.validate(selection, lazy=True)
    return selection.groupby(["table", "split", "phase"]).size().to_dict()


def held_out(battles: pd.DataFrame) -> pd.DataFrame:
    return battles[battles["fold"] == 1]


def test_teachers_learn_from_all_folds_but_one(battles):
    selection = select_teacher_rows(battles, PREFERENCES)
    num_held_out = len(held_out(battles))
    assert counts(selection) == {
        ("battles", "held_out", 0): num_held_out,
        ("battles", "train", 0): 12 - num_held_out,
    }
    assert set(selection.loc[selection["split"] == "held_out", "pair_id"]) == set(held_out(battles)["pair_id"])


def test_students_also_learn_from_collected_pairs_with_their_soft_labels(battles):
    selection = select_student_rows(battles, labels("a", "b"), NO_TEST_PAIRS, PREFERENCES)
    num_held_out = len(held_out(battles))
    assert counts(selection) == {
        ("battles", "held_out", 0): num_held_out,
        ("battles", "train", 0): 12 - num_held_out,
        ("collected_pairs", "train", 0): 2,
    }
    assert selection.loc[selection["table"] == "collected_pairs", "probability_a"].tolist() == [0.75, 0.75]


def test_pretraining_reads_no_human_vote(battles):
    selection = select_pretraining_rows(battles, labels("a", "b"), labels("b", "c"), NO_TEST_PAIRS, PREFERENCES)
    assert counts(selection) == {
        ("battles", "held_out", 0): len(held_out(battles)),
        ("collected_pairs", "train", 0): 2,
        ("generated_pairs", "train", 0): 1,
    }


def test_pretraining_on_nothing_is_refused_with_what_to_do(battles):
    with pytest.raises(BattlesError, match=r"no pseudo-labelled pair.*roster\.students"):
        select_pretraining_rows(battles, labels(), labels(), NO_TEST_PAIRS, PREFERENCES)


def test_one_of_the_labelled_tables_may_be_empty(battles):
    selection = select_pretraining_rows(battles, labels(), labels("c"), NO_TEST_PAIRS, PREFERENCES)
    assert ("generated_pairs", "train", 0) in counts(selection)


def test_the_final_judge_learns_from_every_fold_in_two_phases_and_is_marked_as_having_seen_it(battles):
    phases = split_by_language(battles, PREFERENCES)
    selection = select_final_rows(battles, phases, PREFERENCES)
    train = selection[selection["split"] == "train"]
    assert set(train["battle_id"]) == set(battles["battle_id"])
    assert train.set_index("battle_id")["phase"].to_dict() == phases.set_index("battle_id")["phase"].to_dict()
    assert set(train["phase"]) == {0, 1}
    seen = selection[selection["split"] == "seen"]
    assert set(seen["battle_id"]) == set(held_out(battles)["battle_id"])
    assert "held_out" not in set(selection["split"])
    schemas.Selection.validate(selection, lazy=True)


def test_its_variant_does_not_learn_from_the_held_out_fold(battles):
    phases = split_by_language(battles, PREFERENCES)
    selection = select_final_held_out_rows(battles, phases, PREFERENCES)
    train = selection[selection["split"] == "train"]
    assert not set(train["pair_id"]) & set(held_out(battles)["pair_id"])
    assert len(train) == 12 - len(held_out(battles))
    final = select_final_rows(battles, phases, PREFERENCES).query("split == 'train'").set_index("battle_id")
    assert train.set_index("battle_id")["phase"].equals(final["phase"].loc[train["battle_id"]])


def test_phases_of_other_battles_are_refused(battles):
    with pytest.raises(BattlesError, match="language_phases lacks 1 of 12 battles"):
        select_final_rows(battles, split_by_language(battles, PREFERENCES)[1:], PREFERENCES)


def test_labels_that_are_older_than_the_held_out_fold_are_refused(battles):
    stale = labels("a", "b").assign(prompt_group=[held_out(battles)["prompt_group"].iloc[0], "f" * 32])
    message = "collected_labels: the prompts of 1 of 2 pairs are asked in the held-out battles"
    with pytest.raises(BattlesError, match=message):
        select_student_rows(battles, stale, NO_TEST_PAIRS, PREFERENCES)
    with pytest.raises(BattlesError, match=message):
        select_pretraining_rows(battles, stale, labels(), NO_TEST_PAIRS, PREFERENCES)


def test_labels_that_are_older_than_the_test_table_are_refused(battles):
    stale = labels("a").assign(prompt_group=prompt_group("asked in the test"))
    test_pairs = pd.DataFrame({"prompt": ["another", "asked in the test"]})
    with pytest.raises(BattlesError, match="generated_labels: the prompts of 1 of 1 pairs are asked in the test pairs"):
        select_pretraining_rows(battles, labels(), stale, test_pairs, PREFERENCES)
