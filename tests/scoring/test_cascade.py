"""The decision rule is held against exact fractions and against reading every pair twice."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wsdm_arena.scoring.cascade import (
    CascadeError,
    CascadeSummary,
    combine,
    decide,
    decisive_threshold,
    differences,
    mix_probabilities,
    resolve_threshold,
    select_uncertain,
)

NOT_READ = float("nan")
READINGS = st.one_of(
    st.floats(-1, 1),
    st.floats(-1, 1, width=32),
    st.sampled_from([-1.0, -0.4, -0.3125, 0.0, 5e-324, -5e-324, 0.3125, 0.4, np.nextafter(0.4, 0), 1.0]),
)
WEIGHTS = st.one_of(
    st.sampled_from([(2.5, 1.0), (3.2, 1.0), (1.0, 1.0), (1.0, 3.0), (1.0, 0.0), (3.0, 0.1)]),
    st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)),
)


def winners(first: float, second: float, weights: tuple[float, float]) -> str:
    return decide(np.array([first]), np.array([second]), weights)[0]


@given(READINGS, READINGS, WEIGHTS)
@example(-1 / 3.2, 1.0, (3.2, 1.0))
@example(1.0, -1.0, (1.0, 1.0))
@example(0.1 / 3.0, -1.0, (3.0, 0.1))  # 3 * (0.1 / 3) is not 0.1 in floating point
@settings(max_examples=500, deadline=None)
def test_the_second_judge_is_asked_exactly_where_it_can_change_the_winner(first, second, weights):
    threshold = decisive_threshold(weights)
    is_asked = bool(select_uncertain(np.array([first]), threshold)[0])
    assert is_asked == (abs(first) < weights[1] / weights[0])
    if is_asked:  # then some second reading does change the winner
        against = -1.0 if winners(first, NOT_READ, weights) == "model_a" else 1.0
        assert winners(first, against, weights) != winners(first, NOT_READ, weights)
    else:
        assert winners(first, second, weights) == winners(first, NOT_READ, weights)


@given(st.lists(st.tuples(READINGS, READINGS), max_size=30), WEIGHTS, st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_no_winner_differs_from_reading_every_pair_twice(readings, weights, more):
    d1, d2 = np.array(readings, dtype=np.float64).reshape(-1, 2).T
    threshold = max(decisive_threshold(weights), more)  # a wider band changes no winner either
    cascade = decide(d1, np.where(select_uncertain(d1, threshold), d2, NOT_READ), weights)
    assert cascade.tolist() == decide(d1, d2, weights).tolist()


@given(READINGS, READINGS, WEIGHTS)
@settings(max_examples=300, deadline=None)
def test_the_winner_is_that_of_exact_fractions_where_the_sum_is_not_lost_in_rounding(first, second, weights):
    exact = Fraction(weights[0]) * Fraction(first) + Fraction(weights[1]) * Fraction(second)
    if abs(exact) > 1e-12 * sum(weights):
        assert winners(first, second, weights) == ("model_a" if exact > 0 else "model_b")


@given(READINGS, READINGS, WEIGHTS)
@settings(max_examples=200, deadline=None)
def test_exchanged_answers_exchange_the_winner_but_for_ties(first, second, weights):
    if first or combine(np.array([first]), np.array([second]), weights)[0]:
        assert winners(first, second, weights) != winners(-first, -second, weights)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.4, -1.0, "model_a"),  # the sum is 0: the first judge
        (-0.4, 1.0, "model_b"),
        (np.nextafter(0.4, 0), -1.0, "model_b"),
        (0.0, -0.1, "model_b"),
        (-0.0, 0.1, "model_a"),
        (0.0, 0.0, "model_a"),  # nobody knows
        (-0.0, -0.0, "model_a"),
        (0.0, NOT_READ, "model_a"),
        (-0.1, NOT_READ, "model_b"),
        (NOT_READ, -0.1, "model_b"),
        (NOT_READ, 0.1, "model_a"),
        (NOT_READ, NOT_READ, None),
    ],
)
def test_ties_and_missing_readings(first, second, expected):
    assert winners(first, second, (2.5, 1.0)) == expected


def test_float32_readings_are_compared_in_float64():
    readings = np.array([0.7, 0.4, 0.1], dtype=np.float32)
    for threshold in (0.7, 0.4, 0.1):
        expected = [float(reading) < threshold for reading in readings]
        assert select_uncertain(readings, threshold).tolist() == expected
    assert bool(select_uncertain(readings, 0.7)[0])  # the float32 nearest to 0.7 lies below it


def test_differences_do_not_depend_on_the_type_of_a_table():
    stored = np.array([[0.7, 0.3], [1.0, 0.0], [0.1, 0.9]], dtype=np.float32)
    np.testing.assert_array_equal(differences(stored), differences(stored.astype(np.float64)))
    assert differences(stored).dtype == np.float64
    assert differences(np.array([[0.2, 0.1, 0.7]])).tolist() == [0.1]  # a tie's probability is left aside
    with pytest.raises(CascadeError, match="between 0 and 1"):
        differences(np.array([[1.5, -0.5]]))


@pytest.mark.parametrize("weights", [(0.0, 1.0), (-1.0, 1.0), (1.0, -0.1), (float("nan"), 1.0), (1e-320, 1e300)])
def test_weights_out_of_range_are_refused(weights):
    with pytest.raises(CascadeError, match="the first must be above 0"):
        decisive_threshold(weights)


def test_a_threshold_that_is_given_replaces_the_decisive_one():
    assert resolve_threshold((2.5, 1.0), None) == 0.4
    assert resolve_threshold((2.5, 1.0), 0.8) == 0.8
    with pytest.raises(CascadeError, match="at least 0"):
        resolve_threshold((2.5, 1.0), -0.1)
    with pytest.raises(CascadeError, match="at least 0"):
        resolve_threshold((2.5, 1.0), NOT_READ)


def test_readings_that_are_no_differences_are_refused():
    with pytest.raises(CascadeError, match="between -1 and 1"):
        combine(np.array([1.5]), np.array([0.0]), (1.0, 1.0))


@given(READINGS, READINGS, WEIGHTS)
@settings(max_examples=200, deadline=None)
def test_mixed_probabilities_are_the_weighted_mean_and_never_contradict_the_winner(first, second, weights):
    p1, p2 = (np.array([[(1 + d) / 2, (1 - d) / 2]]) for d in (first, second))
    mixed = mix_probabilities(p1, p2, weights)
    expected = (weights[0] * p1 + weights[1] * p2) / sum(weights)
    np.testing.assert_allclose(mixed, expected, atol=1e-12)
    winner = decide(differences(p1), differences(p2), weights)[0]
    assert mixed[0, 0] >= mixed[0, 1] if winner == "model_a" else mixed[0, 1] >= mixed[0, 0]


def test_mixed_probabilities_that_lie_close_together_are_not_turned_round_by_rounding():
    draw = np.random.default_rng(0)
    for weights in ((2.5, 1.0), (3.2, 1.0), (0.7, 0.3)):
        second = draw.uniform(0, 1, 20_000)
        first = 0.5 - weights[1] / weights[0] * (second - 0.5) + draw.integers(-3, 4, 20_000) * 2.0**-54
        is_possible = (first >= 0) & (first <= 1)
        p1, p2 = (np.column_stack([p, 1 - p])[is_possible] for p in (first, second))
        mixed = mix_probabilities(p1, p2, weights)
        names_a = decide(differences(p1), differences(p2), weights) == "model_a"
        assert (np.where(names_a, 1, -1) * (mixed[:, 0] - mixed[:, 1]) >= 0).all()


def test_mixed_probabilities_of_three_classes_and_of_one_reading():
    p1 = np.array([[0.5, 0.2, 0.3], [0.6, 0.3, 0.1], [np.nan] * 3, [np.nan] * 3])
    p2 = np.array([[0.1, 0.8, 0.1], [np.nan] * 3, [0.3, 0.3, 0.4], [np.nan] * 3])
    mixed = mix_probabilities(p1, p2, (3.0, 1.0))
    np.testing.assert_allclose(mixed[0], [0.4, 0.35, 0.25])
    np.testing.assert_array_equal(mixed[1], p1[1])
    np.testing.assert_array_equal(mixed[2], p2[2])
    assert np.isnan(mixed[3]).all()


def test_the_summary_counts_rows():
    d1 = np.array([0.1, -0.3, 0.4, 0.7, -0.9, NOT_READ])
    d2 = np.array([-0.9, NOT_READ, NOT_READ, NOT_READ, NOT_READ, NOT_READ])
    summary = CascadeSummary.of(d1, d2, weights=(2.5, 1.0), threshold=0.4, compared_threshold=0.8)
    assert summary == CascadeSummary(
        num_rows=6,
        num_selected=2,
        num_read_twice=1,
        num_winners_changed=1,
        share_selected=2 / 6,
        share_read_twice=1 / 6,
        share_at_compared_threshold=4 / 6,
    )


def test_the_summary_of_no_rows():
    summary = CascadeSummary.of(np.empty(0), np.empty(0), weights=(1, 1), threshold=1, compared_threshold=0.8)
    assert summary == CascadeSummary(0, 0, 0, 0, 0.0, 0.0, 0.0)
