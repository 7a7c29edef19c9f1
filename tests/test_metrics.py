import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss

from wsdm_arena.metrics import (
    accuracy,
    bootstrap_interval,
    brier_score,
    compare_paired,
    confidence_bins,
    correctness,
    expected_calibration_error,
    flip_rate,
    log_loss,
    read_both_ways,
    swap_gap,
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


def test_brier_score_of_two_classes_is_twice_scikit_learns():
    draws = np.random.default_rng(0)
    first, wins = draws.random(200), draws.integers(0, 2, 200)
    probabilities, labels = np.column_stack([first, 1 - first]), np.column_stack([wins, 1 - wins])
    assert brier_score(probabilities, labels) == pytest.approx(2 * brier_score_loss(wins, first))


def test_brier_score_of_three_classes_and_soft_labels_by_hand():
    foreseen = np.array([[0.5, 0.3, 0.2]])
    assert brier_score(foreseen, np.array([[0, 0, 1]])) == pytest.approx(0.25 + 0.09 + 0.64)
    assert brier_score(foreseen, np.array([[0.5, 0.5, 0.0]])) == pytest.approx(0.04 + 0.04)
    assert brier_score(foreseen, foreseen) == 0
    two = np.array([[0.8, 0.2], A])
    assert brier_score(two, np.array([[0.25, 0.75], B])) == pytest.approx((2 * 0.55**2 + 2) / 2)


def test_confidences_at_a_bound_fall_into_the_lower_bin():
    assert confidence_bins(np.array([0.0, 0.25, 0.2501, 0.5, 0.75, 1.0]), num_bins=4).tolist() == [0, 0, 1, 1, 2, 3]


def test_calibration_error_is_the_distance_between_confidence_and_accuracy():
    confident = np.tile([0.9, 0.1], (10, 1))
    labels = np.array([A] * 7 + [B] * 3)
    assert expected_calibration_error(confident, labels) == pytest.approx(0.2)
    assert expected_calibration_error(confident, np.array([A] * 9 + [B])) == pytest.approx(0)
    two_bins = np.vstack([confident, np.tile([0.6, 0.4], (10, 1))])
    assert expected_calibration_error(two_bins, np.vstack([labels, np.array([A] * 7 + [B] * 3)])) == pytest.approx(0.15)


def test_without_rows_metrics_are_nan():
    nothing = np.zeros((0, 2))
    assert np.isnan(
        [metric(nothing, nothing) for metric in (accuracy, log_loss, brier_score, expected_calibration_error)]
    ).all()


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


def test_readings_of_both_orders_are_compared_by_hand(predictions):
    read = read_both_ways(predictions)
    assert read.loc["p1"].tolist() == pytest.approx([0, 0.3, 0.5])
    assert read.loc["p2"].tolist() == pytest.approx([1, 0.5, 0])  # B when A is shown first, A when B is
    assert read.loc["p4"].tolist() == pytest.approx([0, 0, 0.5])
    assert sorted(read.index) == ["p1", "p2", "p4"]
    assert swap_gap(predictions) == pytest.approx(0.8 / 3)
    assert np.isnan(swap_gap(predictions[predictions["order"] == "ba"]))
    pd.testing.assert_frame_equal(read.sort_index(), read_both_ways(predictions.iloc[::-1]).sort_index())


def test_who_names_the_first_shown_and_who_foresees_ties():
    rows = [("p", "ab", [0.6, 0.3, 0.1]), ("p", "ba", [0.2, 0.7, 0.1]), ("q", "ab", [0.1, 0.2, 0.7])]
    table = pd.DataFrame([*rows, ("q", "ba", [0.3, 0.1, 0.6])], columns=["pair_id", "order", "probabilities"])
    read = read_both_ways(table)
    assert read.loc["p"].tolist() == pytest.approx([1, 0.4, 1])
    assert read.loc["q"].tolist() == pytest.approx([0, 0.2, 0.5])  # a tie is half the first and half the second


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (10, 10), (1400, 2000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_equals_scipys(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence=confidence) == pytest.approx((expected.low, expected.high))


def test_wilson_interval_takes_half_credits_and_no_trials():
    low, high = wilson_interval(7.5, 10)
    assert wilson_interval(7, 10)[0] < low < 0.75 < high < wilson_interval(8, 10)[1]
    assert wilson_interval(0, 0) == (0, 1)


def _votes(num_groups: int, size: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Credits of 0 and 1 whose chance, 0.7 on average, differs between groups by ``spread`` either way."""
    draws = np.random.default_rng(seed)
    chances = np.repeat(0.7 + spread * draws.choice([-1, 1], num_groups), size)
    return (draws.random(num_groups * size) < chances).astype(float), np.repeat(np.arange(num_groups), size)


def test_bootstrap_interval_without_groups_is_scipys():
    values = np.random.default_rng(1).choice([0.0, 0.5, 1.0], 400, p=[0.3, 0.1, 0.6])
    expected = stats.bootstrap((values,), np.mean, n_resamples=1_000, method="percentile", rng=2).confidence_interval
    found = bootstrap_interval(values, np.arange(400))
    assert found == pytest.approx((expected.low, expected.high), abs=0.006)
    assert found == pytest.approx(wilson_interval(values.sum(), 400), abs=0.012)


def test_bootstrap_interval_is_seeded_and_depends_on_neither_order_nor_names_of_groups():
    values, groups = _votes(60, 3, 0.2, seed=3)
    found = bootstrap_interval(values, groups, seed=5)
    assert bootstrap_interval(values, groups, seed=5) == found
    order = np.random.default_rng(0).permutation(len(values))
    assert bootstrap_interval(values[order], groups[order], seed=5) == found
    assert bootstrap_interval(values, np.char.add("prompt ", np.char.zfill(groups.astype(str), 2)), seed=5) == (
        pytest.approx(found, abs=0.03)  # other names are drawn in another order
    )
    assert len({bootstrap_interval(values, groups, seed=seed) for seed in range(4)}) > 1


def test_bootstrap_interval_is_wider_where_groups_agree_and_where_more_confidence_is_asked():
    values = np.tile([1.0, 1.0, 1.0, 0.0], 100)
    homogeneous, mixed = np.sort(values), values
    groups = np.repeat(np.arange(40), 10)

    def width(values, groups, **options):
        low, high = bootstrap_interval(values, groups, **options)
        assert low <= 0.75 <= high
        return high - low

    alone = width(values, np.arange(400))
    assert width(homogeneous, groups) > 2.5 * alone  # sqrt(10) = 3.2
    assert width(mixed, np.repeat(np.arange(100), 4)) == 0  # every group has three of four right
    assert width(values, np.arange(400), confidence=0.5) < alone < width(values, np.arange(400), confidence=0.99)


def test_bootstrap_interval_holds_the_truth_as_often_as_it_says():
    inside = 0
    for seed in range(200):
        values, groups = _votes(100, 4, 0.25, seed)
        low, high = bootstrap_interval(values, groups, num_samples=400)
        inside += low <= 0.7 <= high
    assert 180 <= inside <= 198  # 190 of 200 foretold, standard deviation 3


def test_battles_of_a_prompt_taken_for_independent_would_hold_it_less_often():
    samples = (_votes(100, 4, 0.25, seed) for seed in range(200))
    intervals = [wilson_interval(values.sum(), len(values)) for values, _ in samples]
    assert sum(low <= 0.7 <= high for low, high in intervals) < 180


def test_groups_of_different_sizes_are_drawn_whole():
    right, sizes = np.repeat([10.0, 0.0], [10, 50]), np.repeat([10.0, 1.0], [10, 50])  # only large groups are right
    drawn = np.random.default_rng(1).integers(0, 60, (4_000, 60))
    expected = np.quantile(right[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    values, groups = np.repeat([1.0, 0.0], [100, 50]), np.repeat(np.arange(60), sizes.astype(int))
    assert bootstrap_interval(values, groups) == pytest.approx(tuple(expected), abs=0.02)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num", [12, 200])
def test_where_every_draw_would_be_alike_wilsons_interval_stands_in(value, num):
    assert bootstrap_interval(np.full(num, value), np.arange(num)) == wilson_interval(num * value, num)


def test_bootstrap_interval_of_one_group_and_of_nothing():
    assert bootstrap_interval(np.array([1.0, 0.0, 1.0]), np.array(["p", "p", "p"])) == wilson_interval(2 / 3, 1)
    assert bootstrap_interval(np.zeros(0), np.zeros(0)) == (0, 1)
    assert bootstrap_interval(np.array([1.0]), np.array([None])) == wilson_interval(1, 1)


def test_few_prompts_count_as_few_however_many_battles_they_have():
    halves = np.tile([0.0, 1.0], 50)
    assert bootstrap_interval(halves, np.repeat(["p", "q"], 50)) == wilson_interval(1, 2)
    assert bootstrap_interval(np.ones(60), np.repeat(["p", "q"], 30)) == wilson_interval(2, 2)


def test_prompts_that_are_battled_on_often_tell_less_than_as_many_single_ones():
    generator = np.random.default_rng(0)
    found = {1: 0, 10: 0}
    for _ in range(300):
        leads = np.repeat(generator.normal(0, 0.4, 40), 10)  # what the battles of a prompt have in common
        first = (generator.random(400) < 0.5 + leads / 2).astype(float)
        second = (generator.random(400) < 0.5 - leads / 2).astype(float)
        for size in found:
            groups = np.arange(400) // size
            found[size] += compare_paired(first, second, groups).p_value < 0.05
    assert found[1] > 60  # of 300 comparisons of equal predictors, as if battles were independent
    assert found[10] < 30


def test_a_single_prompt_tells_nothing_about_others():
    first, second = np.ones(10), np.zeros(10)
    alone = compare_paired(first, second, np.zeros(10))
    assert (alone.p_value, alone.difference) == (1.0, 1.0)
    assert np.isnan(alone.difference_low)


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
