import logging

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.config import CascadeConfig
from wsdm_arena.metrics import log_loss
from wsdm_arena.scoring.cascade import CascadeError, decide, decisive_threshold
from wsdm_arena.scoring.cascade_plan import fit_cascade, plan_cascade
from wsdm_arena.scoring.ensemble import PredictionsError

NUM = 300


def ids() -> list[str]:
    return [f"{number:032x}" for number in range(NUM)]


@pytest.fixture
def battles() -> pd.DataFrame:
    wins = np.random.default_rng(0).random(NUM) < 0.5
    return pd.DataFrame({"pair_id": ids(), "probability_a": wins * 1.0, "probability_b": ~wins * 1.0})


def predictions(battles: pd.DataFrame, noise: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for order in ("ab", "ba"):
        lead = np.where(battles["probability_a"] == 1, 1.0, -1.0) + noise * rng.normal(size=NUM)
        p = 1 / (1 + np.exp(-lead))
        frames.append(battles[["pair_id"]].assign(order=order, probabilities=list(np.column_stack([p, 1 - p]))))
    return pd.concat(frames).sample(frac=1, random_state=seed)


def test_the_recipes_weights_make_the_second_judge_read_what_it_can_change(battles):
    judges = {"gemma": predictions(battles, 1.0, 1), "llama": predictions(battles, 2.0, 2)}
    plan = plan_cascade(CascadeConfig(weights={"gemma": 2.5}), judges, battles, compare_with_threshold=0.8)
    assert plan["weights"] == {"gemma": 2.5, "llama": 1.0}
    assert plan["threshold"] == pytest.approx(0.4)
    first = judges["gemma"].query("order == 'ab'")
    d1 = np.stack(first["probabilities"].to_list()) @ [1, -1]
    assert plan["held_out"]["num_selected"] == int((np.abs(d1) < 0.4).sum())
    assert plan["held_out"]["share_at_compared_threshold"] == pytest.approx((np.abs(d1) < 0.8).mean())
    assert plan["fitted"] is None


def test_a_share_is_fitted_and_weights_favour_the_better_judge(battles):
    judges = {"gemma": predictions(battles, 0.5, 1), "llama": predictions(battles, 4.0, 2)}
    plan = plan_cascade(CascadeConfig(fit_share=0.2), judges, battles, compare_with_threshold=0.8)
    assert plan["weights"]["gemma"] > plan["weights"]["llama"] == 1
    assert plan["held_out"]["share_selected"] == pytest.approx(min(0.2, plan["fitted"]["share"]), abs=0.02)
    assert plan["threshold"] <= 1 / plan["weights"]["gemma"]


def test_a_fit_says_that_it_replaces_configured_weights(battles, caplog):
    judges = {"gemma": predictions(battles, 0.5, 1), "llama": predictions(battles, 4.0, 2)}
    with caplog.at_level(logging.INFO):
        fitted = plan_cascade(CascadeConfig(fit_share=0.2), judges, battles, compare_with_threshold=0.8)
    assert caplog.text == ""
    with caplog.at_level(logging.INFO):
        config = CascadeConfig(weights={"gemma": 3.2}, fit_share=0.2)
        assert plan_cascade(config, judges, battles, compare_with_threshold=0.8) == fitted
    assert "replace the configured {'gemma': 3.2, 'llama': 1.0}" in caplog.text


def test_one_judge_is_a_cascade_of_one(battles):
    plan = plan_cascade(CascadeConfig(), {"gemma": predictions(battles, 1, 1)}, battles, compare_with_threshold=0.8)
    assert plan == {"judges": ["gemma"], "weights": {"gemma": 1.0}, "threshold": None, "fitted": None}


def test_judges_that_read_different_pairs_are_refused(battles):
    first = ids()[0]
    judges = {"gemma": predictions(battles, 1, 1), "llama": predictions(battles, 1, 2).query("pair_id > @first")}
    with pytest.raises(CascadeError, match=f"1 pairs, such as {first}, were read by one of the judges only"):
        plan_cascade(CascadeConfig(), judges, battles, compare_with_threshold=0.8)


def read_in(first_wins: np.ndarray, order: str) -> pd.DataFrame:
    """Both orders, the other one with nonsense that must not be read."""
    keys = [f"{number:032x}" for number in range(len(first_wins))]
    right = pd.DataFrame({"pair_id": keys, "order": order, "probabilities": [np.array([p, 1 - p]) for p in first_wins]})
    wrong = right.assign(order="ba" if order == "ab" else "ab", probabilities=[np.array([0.5, 0.5])] * len(right))
    return pd.concat([right, wrong]).sample(frac=1, random_state=0)


@pytest.fixture
def held_out():
    """600 battles; the first judge sees more of the truth than the second, each with errors of its own."""
    draw = np.random.default_rng(0)
    truth = draw.normal(0, 1.5, 600)
    votes = (draw.random(600) < 1 / (1 + np.exp(-truth))).astype(float)
    first, second = (1 / (1 + np.exp(-(truth + draw.normal(0, noise, 600)))) for noise in (0.8, 1.6))
    battles = pd.DataFrame(
        {
            "battle_id": [f"{number + 5000:032x}" for number in range(600)],
            "pair_id": [f"{number:032x}" for number in range(600)],
            "probability_a": votes,
            "probability_b": 1 - votes,
        }
    )
    return read_in(first, "ab"), read_in(second, "ba"), battles.sample(frac=1, random_state=1), (first, second)


def test_fitted_weights_have_the_lowest_log_loss_of_all(held_out):
    first, second, battles, (p1, p2) = held_out
    fitted = fit_cascade(first, second, battles, target_share=0.3)
    in_order = battles.sort_values("pair_id")
    labels = in_order[["probability_a", "probability_b"]].to_numpy()

    def loss(share: float) -> float:
        mean = share * p1 + (1 - share) * p2
        return log_loss(np.column_stack([mean, 1 - mean]), labels)

    assert fitted.log_loss <= min(loss(share) for share in np.linspace(0.05, 0.95, 91)) + 1e-9
    assert fitted.weights[1] == 1.0
    assert fitted.weights[0] > 1.5  # the first judge knows more
    assert fitted.num_battles == 600


def test_the_fitted_threshold_gives_the_target_share(held_out):
    first, second, battles, (p1, p2) = held_out
    fitted = fit_cascade(first, second, battles, target_share=0.2)
    d1, d2 = 2 * p1 - 1, 2 * p2 - 1
    assert fitted.share == pytest.approx(0.2, abs=1 / 600)
    assert fitted.share == (np.abs(d1) < fitted.threshold).mean()
    assert fitted.threshold < decisive_threshold(fitted.weights)
    read_twice = np.where(np.abs(d1) < fitted.threshold, d2, np.nan)
    votes = battles.sort_values("pair_id")["probability_a"].to_numpy()
    right = (decide(d1, read_twice, fitted.weights) == "model_a") == (votes == 1)
    assert fitted.accuracy == pytest.approx(right.mean())


def test_the_fitted_threshold_stops_where_reading_twice_changes_nothing(held_out):
    first, second, battles, _ = held_out
    fitted = fit_cascade(first, second, battles, target_share=1.0)
    assert fitted.threshold == decisive_threshold(fitted.weights)
    assert 0 < fitted.share < 1


def test_fitted_weights_stay_within_bounds_where_one_judge_knows_nothing():
    votes = np.tile([1.0, 0.0], 50)
    battles = pd.DataFrame({"pair_id": [f"{n:032x}" for n in range(100)], "probability_a": votes})
    battles["probability_b"] = 1 - votes
    knows, guesses = np.clip(votes, 0.1, 0.9), np.full(100, 0.5)
    assert fit_cascade(read_in(knows, "ab"), read_in(guesses, "ba"), battles, 0.5).weights[0] > 18.9
    backwards = fit_cascade(read_in(guesses, "ab"), read_in(knows, "ba"), battles, 0.5)
    assert backwards.weights[0] < 1 / 18.9
    assert (backwards.share, backwards.accuracy) == (1.0, 1.0)  # all |d1| are 0: the second judge decides every pair


def test_battles_of_other_pairs_are_ignored_and_a_second_vote_counts(held_out):
    first, second, battles, _ = held_out
    stranger = battles.iloc[[0]].assign(pair_id="f" * 32)
    again = battles.iloc[[1]].assign(battle_id="e" * 32)
    assert fit_cascade(first, second, pd.concat([battles, stranger]), 0.3) == fit_cascade(first, second, battles, 0.3)
    assert fit_cascade(first, second, pd.concat([battles, again]), 0.3).num_battles == 601


def test_predictions_that_do_not_belong_together_are_refused(held_out):
    first, second, battles, _ = held_out
    with pytest.raises(CascadeError, match=r"1 pairs, such as 0{32}, were read by one of the judges only"):
        fit_cascade(first, second[second["pair_id"] != "0" * 32], battles, 0.3)
    with pytest.raises(PredictionsError, match="1200 rows stand there more than once"):
        fit_cascade(pd.concat([first, first]), second, battles, 0.3)
    with pytest.raises(CascadeError, match="none of the battles was read"):
        fit_cascade(first, second, battles.assign(pair_id="f" * 32), 0.3)
    with pytest.raises(CascadeError, match="2 and 2 classes apart, the labels 3"):
        fit_cascade(first, second, battles.assign(probability_tie=0.0), 0.3)
    with pytest.raises(CascadeError, match="target_share=0"):
        fit_cascade(first, second, battles, 0.0)
