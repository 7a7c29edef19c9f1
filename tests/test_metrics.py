import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wsdm_arena.metrics import (
    accuracy,
    compare_paired,
    correctness,
    expected_calibration_error,
    flip_rate,
    log_loss,
    wilson_interval,
)

A, B, HALF = [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]


def test_the_likelier_class_of_a_soft_label_is_the_right_one_and_halves_earn_a_half():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4], HALF, HALF])
    labels = np.array([A, B, [0.3, 0.7], HALF, A, HALF])
    assert correctness(probabilities, labels).tolist() == [1, 0, 1, 0.5, 0.5, 0.5]
    assert accuracy(probabilities, labels) == pytest.approx(3.5 / 6)


def test_three_classes_are_right_only_where_the_tie_is_foreseen():
    probabilities = np.array([[0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    labels = np.array([[0, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert correctness(probabilities, labels).tolist() == [1, 0, 0.5]


def test_log_loss_of_hard_and_soft_labels():
    assert log_loss(np.array([[0.8, 0.2]]), np.array([A])) == pytest.approx(-np.log(0.8))
    assert log_loss(np.array([[0.8, 0.2]]), np.array([[0.25, 0.75]])) == pytest.approx(
        -0.25 * np.log(0.8) - 0.75 * np.log(0.2)
    )
    assert log_loss(np.array([A]), np.array([A])) == pytest.approx(0, abs=1e-6)
    assert log_loss(np.array([A]), np.array([B])) == pytest.approx(16.118, abs=1e-3)


def test_calibration_error_is_the_distance_between_confidence_and_accuracy():
    confident = np.tile([0.9, 0.1], (10, 1))
    labels = np.array([A] * 7 + [B] * 3)
    assert expected_calibration_error(confident, labels) == pytest.approx(0.2)
    assert expected_calibration_error(confident, np.array([A] * 9 + [B])) == pytest.approx(0)
    two_bins = np.vstack([confident, np.tile([0.6, 0.4], (10, 1))])
    assert expected_calibration_error(two_bins, np.vstack([labels, np.array([A] * 7 + [B] * 3)])) == pytest.approx(0.15)


def test_without_rows_metrics_are_nan():
    nothing = np.zeros((0, 2))
    assert np.isnan([metric(nothing, nothing) for metric in (accuracy, log_loss, expected_calibration_error)]).all()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) and labels \(3, 3\)"):
        accuracy(np.zeros((3, 2)), np.zeros((3, 3)))


@pytest.fixture
def predictions() -> pd.DataFrame:
    rows = [
        ("p1", "ab", [0.9, 0.1]),
        ("p1", "ba", [0.6, 0.4]),  # the same winner
        ("p2", "ba", [0.7, 0.3]),
        ("p2", "ab", [0.2, 0.8]),  # another one
        ("p3", "ab", [0.1, 0.9]),  # read once
        ("p4", "ba", [0.4, 0.6]),
        ("p4", "ab", [0.4, 0.6]),
    ]
    return pd.DataFrame(rows, columns=["pair_id", "order", "probabilities"])


def test_flip_rate_counts_pairs_whose_winner_depends_on_the_order(predictions):
    assert flip_rate(predictions) == pytest.approx(1 / 3)
    assert flip_rate(predictions.iloc[::-1]) == pytest.approx(1 / 3)
    assert np.isnan(flip_rate(predictions[predictions["order"] == "ab"]))
    with pytest.raises(ValueError, match="twice in one order"):
        flip_rate(pd.concat([predictions, predictions.iloc[[0]]]))


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (10, 10), (1400, 2000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_equals_scipys(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence=confidence) == pytest.approx((expected.low, expected.high))


def test_wilson_interval_takes_half_credits_and_no_trials():
    low, high = wilson_interval(7.5, 10)
    assert wilson_interval(7, 10)[0] < low < 0.75 < high < wilson_interval(8, 10)[1]
    assert wilson_interval(0, 0) == (0, 1)


def test_paired_comparison_counts_disagreements_only():
    first = np.array([1.0] * 9 + [0.0] * 1 + [1.0] * 50)
    second = np.array([0.0] * 9 + [1.0] * 1 + [1.0] * 50)
    comparison = compare_paired(first, second)
    assert (comparison.num_first_better, comparison.num_second_better) == (9, 1)
    assert comparison.difference == pytest.approx(8 / 60)
    assert comparison.p_value == pytest.approx(22 / 1024)  # 2 * (1 + 10) / 2^10
    assert compare_paired(first, first).p_value == 1
    with pytest.raises(ValueError, match="different battles"):
        compare_paired(first, second[:5])
