"""Scores and judges of two runs side by side."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from wsdm_arena.scoring.ensemble import PredictionsError
from wsdm_arena.scoring.run_comparisons import RunComparisonError, compare_predictions, compare_rows, read_rows


def ids(numbers) -> list[str]:
    return [f"{number:032x}" for number in numbers]


def battles(count: int) -> pd.DataFrame:
    folds = np.arange(count) % 5
    return pd.DataFrame({"pair_id": ids(range(count)), "fold": folds, "probability_a": 1.0, "probability_b": 0.0})


def predictions(right: dict[int, bool], orders=("ab", "ba")) -> pd.DataFrame:
    rows = [[0.9, 0.1] if is_right else [0.2, 0.8] for is_right in right.values()]
    read = pd.DataFrame({"pair_id": ids(right), "probabilities": rows}, columns=["pair_id", "probabilities"])
    return pd.concat([read.assign(order=order) for order in orders]).sample(frac=1, random_state=1)


def row(judge="gemma", **fields):
    common = {"stage": "teacher", "dataset": "battles[fold 0]", "orders": "ab+ba", "data_fingerprint": "d"}
    return common | {"judge": judge, "accuracy": 0.7, "log_loss": 0.5, "ece": 0.1} | fields


def test_the_pairs_that_both_have_read_are_compared_by_key():
    rng = np.random.default_rng(0)
    old = {number: bool(rng.random() < 0.6) for number in range(0, 150)}
    new = {number: bool(rng.random() < 0.8) for number in range(50, 400)}
    tested = compare_predictions(predictions(old), predictions(new), battles(120))
    both = range(50, 120)
    wins = sum(new[number] and not old[number] for number in both)
    losses = sum(old[number] and not new[number] for number in both)
    assert (tested["num_battles"], tested["num_first_better"], tested["num_second_better"]) == (70, wins, losses)
    assert tested["difference"] == pytest.approx((wins - losses) / 70)
    assert tested["p_value"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    assert tested["difference_low"] < tested["difference"] < tested["difference_high"]


def test_a_pair_that_was_voted_on_twice_counts_twice():
    voted = pd.concat([battles(4), battles(1)])
    tested = compare_predictions(predictions(dict.fromkeys(range(4), False)), predictions({0: True, 1: False}), voted)
    assert (tested["num_battles"], tested["num_first_better"]) == (3, 2)


def test_runs_may_have_read_pairs_in_different_orders():
    right = dict.fromkeys(range(10), True)
    assert compare_predictions(predictions(right, ["ab"]), predictions(right), battles(10))["difference"] == 0.0


@pytest.mark.parametrize("old", [{}, {7: True}])
def test_without_common_battles_there_are_no_numbers(old):
    tested = compare_predictions(predictions(old), predictions({1: True}), battles(5))
    assert (tested["num_battles"], tested["difference"], tested["p_value"]) == (0, None, 1.0)
    assert json.dumps(tested, allow_nan=False)


def test_other_classes_and_pairs_that_occur_twice_are_refused():
    right = predictions(dict.fromkeys(range(5), True))
    with_ties = battles(5).assign(probability_tie=0.0)
    with pytest.raises(RunComparisonError, match="other classes"):
        compare_predictions(right, right, with_ties)
    with pytest.raises(PredictionsError, match="more than once"):
        compare_predictions(right, pd.concat([right, right]), battles(5))


def test_rows_are_joined_by_what_they_are_about():
    old = [row(accuracy=0.6), row("llama"), row("gone"), row(dataset="battles[fold 0] language=en")]
    new = [row("llama", data_fingerprint="e"), row(), row("added"), row(dataset="battles[fold 0] language=en", ece=0.2)]
    changes = compare_rows(old, new)
    assert [(change.judge, change.slice, change.is_change) for change in changes] == [
        ("llama", "", True),
        ("gemma", "", True),
        ("added", "", True),
        ("gemma", "language=en", True),
        ("gone", "", True),
    ]
    assert [change.is_of_same_battles for change in changes] == [False, True, False, True, False]
    assert [(change.old is None, change.new is None) for change in changes] == [
        (False, False),
        (False, False),
        (True, False),
        (False, False),
        (False, True),
    ]


def test_equal_rows_of_different_runs_are_no_change():
    nothing = float("nan")
    (change,) = compare_rows([row(run_id="1", ece=nothing)], [row(run_id="2", ece=nothing)])
    assert not change.is_change


def test_damaged_scores_are_named(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text('[{"stage"')
    with pytest.raises(RunComparisonError, match=r"scores\.json is damaged"):
        read_rows(path)
