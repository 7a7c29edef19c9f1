"""Sentences of the report are true of the numbers, also where there is little to say."""

import copy

import pytest

from wsdm_arena.analysis import findings
from wsdm_arena.analysis.tables import CascadeAnalysis, Interval, JudgeAnalysis
from wsdm_arena.scoring.scoreboard import NEW_PROMPTS, TEST_PAIRS, ScoreboardRow

NOBODY = Interval(value=0.0, low=0.0, high=1.0, num_battles=0)


def share(value: float, num_battles: int = 100) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1, num_battles=num_battles)


def row(stage: str, judge: str, accuracy: float, dataset: str = "battles[fold 0]", **changes) -> ScoreboardRow:
    values = dict.fromkeys(ScoreboardRow.__annotations__)
    values |= {"stage": stage, "judge": judge, "dataset": dataset, "num_pairs": 100, "accuracy": accuracy}
    values |= {"accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05, "ece": 0.02, "log_loss": 0.5}
    return ScoreboardRow(**(values | {"seen_in_training": False, "fold": 0, "flip_rate": 0.1} | changes))


@pytest.fixture
def analysis() -> JudgeAnalysis:
    scores = {"log_loss": 0.5, "brier": 0.3, "ece": 0.03, "ece_by_chance": 0.02}
    calibration = {"temperature": 0.9, "num_fitted": 50, "num_judged": 50, "before": scores, "note": ""}
    calibration |= {"after": scores | {"log_loss": 0.49, "ece": 0.04}, "bins_before": [], "bins_after": []}
    length = {"names_longer": share(0.6), "longer_won": share(0.5), "bins": []}
    length |= {"accuracy_longer_won": share(0.8, 50), "accuracy_shorter_won": share(0.7, 50)}
    judge = {"stage": "teacher", "judge": "gemma", "fold": 0, "seen_in_training": False, "num_battles": 100}
    judge |= {"calibration": calibration, "length": length, "swap": None, "abstention": {"points": [], "area": 0.1}}
    return JudgeAnalysis(**judge)


def test_the_best_of_several_is_said_to_be_chosen():
    several = [row("teacher", "gemma", 0.7), row("teacher", "llama", 0.8), row("final", "llama", 0.9)]
    several[2]["seen_in_training"] = True
    assert findings.headline(several)[0].startswith("The best of 2 judges that have not seen")
    assert "teacher.llama" in findings.headline(several)[0]
    assert findings.headline(several[:1])[0].startswith("The judge that has not seen")
    assert findings.headline(several[2:]) == [findings.NO_JUDGE]


def test_cascades_are_all_named_on_prompts_that_nobody_trained_on():
    cascades = [
        row("submission", judge, accuracy, dataset, fold=None)
        for dataset, accuracies in ((TEST_PAIRS, (0.79, 0.80)), (NEW_PROMPTS, (0.81, 0.78)))
        for judge, accuracy in zip(("student", "final"), accuracies, strict=True)
    ]
    said = findings.accuracy_finding([row("teacher", "gemma", 0.7), *cascades])
    assert "prompts that no battle asks" in said
    assert "student 81.0%" in said
    assert "final 78.0%" in said
    assert "80.0%" not in said
    said = findings.accuracy_finding([row("teacher", "gemma", 0.7), *cascades[:2]])
    assert "whose prompts battles may ask, too" in said


def test_calibration_claims_no_more_than_was_judged(analysis):
    said = findings.calibration_finding(analysis)
    assert "0.030 to 0.040" in said
    assert "about 0.020 there by chance" in said
    doubtful = copy.deepcopy(analysis)
    doubtful["calibration"]["note"] = "4 prompts are too few"
    assert findings.calibration_finding(doubtful).endswith("is not to be relied on: 4 prompts are too few.")
    assert "not fitted on" not in findings.calibration_finding(doubtful)


def test_of_lengths_that_do_not_differ_nothing_is_said(analysis):
    assert "in 80.0% of battles that the longer answer won and in 70.0% of those" in findings.length_finding(analysis)
    assert "+10.0 points" in findings.length_finding(analysis)
    one_sided = copy.deepcopy(analysis)
    one_sided["length"]["accuracy_shorter_won"] = NOBODY
    assert findings.length_finding(one_sided).endswith("all battles were won by the longer answer.")
    none = copy.deepcopy(analysis)
    none["length"] |= {"names_longer": NOBODY, "longer_won": NOBODY}
    assert findings.length_finding(none) == "There are no battles whose answers differ in length."


def test_who_stands_in_for_a_submitted_judge_is_named():
    points = [{"threshold": level, "share": level, "accuracy": share(0.8), "seconds": None} for level in (0.0, 1.0)]
    cascade = {"stage": "final", "judges": ["gemma", "llama"], "weights": {}, "threshold": 0.4, "points": points}
    cascade |= {"num_battles": 100, "num_test_pairs": 10, "in_use": points[1], "is_fitted": False}
    cascade["read_by"] = {"gemma": "final_held_out.gemma", "llama": "student.llama"}
    said = findings.cascade_finding([CascadeAnalysis(**cascade)])
    assert "final_held_out.gemma alone" in said
    assert "student.llama reading" in said
    assert "stand in for those submitted" in said
    own = cascade | {"read_by": {"gemma": "final.gemma", "llama": "final.llama"}, "is_fitted": True}
    said = findings.cascade_finding([CascadeAnalysis(**own)])
    assert "stand in" not in said
    assert "fitted on these very battles" in said
