import numpy as np
import pytest

from wsdm_arena.simulation.voters import SEVERITY, draw_winner, tie_probability, vote_probability


def test_equally_good_answers_win_equally_often() -> None:
    assert vote_probability("none", "none") == 0.5
    assert vote_probability("cut_off", "cut_off") == 0.5


def test_sound_answers_beat_flawed_ones_but_not_always() -> None:
    assert vote_probability("none", "wrong_result") == pytest.approx(0.015 + 0.97 / (1 + np.exp(-4)))
    assert all(0.5 < vote_probability("none", flaw) < 0.99 for flaw in SEVERITY if flaw != "none")


def test_swapping_the_answers_swaps_the_probabilities() -> None:
    for first in SEVERITY:
        for second in SEVERITY:
            assert vote_probability(first, second) + vote_probability(second, first) == pytest.approx(1)
            assert tie_probability(first, second) == tie_probability(second, first)


def test_ties_are_likeliest_between_equals() -> None:
    assert tie_probability("none", "none") == 0.75
    assert tie_probability("none", "refusal") < tie_probability("none", "needless_length") < 0.75


def test_votes_follow_their_probability() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([draw_winner(rng, 0.8) == "model_a" for _ in range(5000)])
    assert share == pytest.approx(0.8, abs=0.02)
