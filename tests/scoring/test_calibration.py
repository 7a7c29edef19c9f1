"""The temperature that was put in is found again, and what cannot be fitted is said."""

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.metrics import log_loss
from wsdm_arena.scoring.calibration import BOUNDS, Calibration, CalibrationError, apply_temperature, fit_temperature
from wsdm_arena.scoring.ensemble import PredictionsError, average_orders, probabilities_by_row
from wsdm_arena.scoring.predictor import canonical_probabilities

NUM_PAIRS = 4_000


def pair_ids(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def predictions_of(margins: dict[str, np.ndarray]) -> pd.DataFrame:
    """Readings whose logit of A exceeds that of B by ``margins[order]``, in displayed order as predictions are."""
    parts = []
    for order, margin in margins.items():
        displayed = margin if order == "ab" else -margin
        logits = np.stack([displayed / 2, -displayed / 2], axis=1).astype(np.float32)
        probabilities = canonical_probabilities(logits, np.full(len(margin), order == "ba"))
        parts.append(
            pd.DataFrame(
                {"pair_id": pair_ids(len(margin)), "order": order, "logits": list(logits)}
                | {"probabilities": list(probabilities)}
            )
        )
    return pd.concat(parts, ignore_index=True)


def battles_of(probability_a: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "battle_id": [f"b{number}" for number in range(len(probability_a))],
            "pair_id": pair_ids(len(probability_a)),
            "probability_a": probability_a.astype(float),
            "probability_b": 1.0 - probability_a,
        }
    )


def draw(true_temperature: float, orders: tuple[str, ...] = ("ab",)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A judge whose margins are the true ones times a temperature, and votes drawn from the true ones."""
    generator = np.random.default_rng(0)
    true = generator.normal(scale=2.0, size=NUM_PAIRS)
    wins = generator.random(NUM_PAIRS) < 1 / (1 + np.exp(-true))
    return predictions_of(dict.fromkeys(orders, true * true_temperature)), battles_of(wins.astype(float))


@pytest.mark.parametrize("orders", [("ab",), ("ba",), ("ab", "ba")])
@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(true, orders):
    found = fit_temperature(*draw(true, orders))
    assert found.temperature == pytest.approx(true, rel=0.1)
    assert found.num_pairs == NUM_PAIRS
    assert found.note == ""
    assert found.log_loss_after <= found.log_loss_before
    if true != 1.0:
        assert found.log_loss_before - found.log_loss_after > 0.01


def test_soft_labels_give_it_exactly():
    margins = np.linspace(-4, 4, 41)
    labels = 1 / (1 + np.exp(-margins / 2.5))
    found = fit_temperature(predictions_of({"ab": margins}), battles_of(labels))
    assert found.temperature == pytest.approx(2.5, rel=1e-3)


def test_the_losses_are_those_of_the_probabilities_averaged_over_orders():
    generator = np.random.default_rng(1)
    margins = generator.normal(scale=3.0, size=(2, 300))
    predictions = predictions_of({"ab": margins[0], "ba": margins[1]})
    battles = battles_of((generator.random(300) < 0.6).astype(float))
    found = fit_temperature(predictions.sample(frac=1, random_state=0), battles.sample(frac=1, random_state=1))

    def loss(temperature: float) -> float:
        logits = np.stack([apply_temperature(row, temperature) for row in predictions["logits"]])
        scaled = canonical_probabilities(logits, (predictions["order"] == "ba").to_numpy())
        averaged = average_orders(probabilities_by_row(predictions.assign(probabilities=list(scaled))))
        joined = battles.merge(averaged, on="pair_id", suffixes=("", "_said"))
        said = joined[["probability_a_said", "probability_b_said"]].to_numpy()
        return log_loss(said, joined[["probability_a", "probability_b"]].to_numpy())

    assert found.log_loss_before == pytest.approx(loss(1.0), rel=1e-6)
    assert found.log_loss_after == pytest.approx(loss(found.temperature), rel=1e-6)
    others = np.geomspace(*BOUNDS, 40)
    assert found.log_loss_after <= min(loss(float(temperature)) for temperature in others) + 1e-6


def test_no_temperature_changes_a_verdict_of_both_orders():
    margins = np.random.default_rng(2).normal(scale=3.0, size=(2, 500))
    first, second = (1 / (1 + np.exp(-margins / temperature)) for temperature in BOUNDS)
    assert np.array_equal(first.mean(axis=0) > 0.5, second.mean(axis=0) > 0.5)
    assert np.array_equal(first.mean(axis=0) > 0.5, margins.sum(axis=0) > 0)


def test_a_pair_that_was_voted_on_twice_counts_twice():
    predictions, battles = draw(2.0)
    repeated = pd.concat([battles, battles.head(1000).assign(probability_a=1.0, probability_b=0.0)])
    twice, once = fit_temperature(predictions, repeated), fit_temperature(predictions, battles)
    assert twice.num_pairs == once.num_pairs == NUM_PAIRS
    assert twice.temperature > once.temperature * 1.1


def test_only_pairs_with_both_a_prediction_and_a_vote_count():
    predictions, battles = draw(2.0, ("ab", "ba"))
    some = predictions[predictions["pair_id"].isin(battles["pair_id"].head(500))]
    assert fit_temperature(some, battles) == fit_temperature(predictions, battles.head(500))
    assert fit_temperature(some, battles).num_pairs == 500


def test_three_classes_are_fitted_alike():
    generator = np.random.default_rng(3)
    true = generator.normal(scale=1.5, size=(NUM_PAIRS, 3))
    labels = canonical_probabilities(true, np.zeros(NUM_PAIRS, dtype=bool)).astype(float)
    battles = battles_of(labels[:, 0]).assign(probability_b=labels[:, 1], probability_tie=labels[:, 2])
    predictions = pd.DataFrame(
        {"pair_id": pair_ids(NUM_PAIRS), "order": "ba", "logits": list((2 * true[:, [1, 0, 2]]).astype(np.float32))}
    )
    assert fit_temperature(predictions, battles).temperature == pytest.approx(2.0, rel=1e-2)
    with pytest.raises(CalibrationError, match=r"predictions have 3 classes, labels have \['probability_a'"):
        fit_temperature(predictions, battles.drop(columns="probability_tie"))


def test_without_labelled_pairs_the_temperature_stays_at_1(caplog):
    predictions, battles = draw(2.0)
    for nothing in (
        (predictions.head(0), battles),
        (predictions, battles.head(0)),
        (predictions.head(9), battles.tail(9)),
    ):
        caplog.clear()
        found = fit_temperature(*nothing)
        assert found == Calibration(1.0, 0, None, None, found.note)
        assert "no pair has both" in found.note
        assert "no pair has both" in caplog.text


@pytest.mark.parametrize(("sign", "bound", "share"), [(1, BOUNDS[0], "100%"), (-1, BOUNDS[1], "0%")])
def test_a_judge_that_is_always_right_or_wrong_gets_a_bound_and_a_warning(sign, bound, share, caplog):
    margins = np.linspace(0.05, 1.0, 50)
    found = fit_temperature(predictions_of({"ab": sign * margins}), battles_of(np.ones(50)))
    assert found.temperature == pytest.approx(bound, rel=0.01)
    assert BOUNDS[0] <= found.temperature <= BOUNDS[1]
    assert f"is a bound: {share} of 50 votes" in found.note
    assert found.note in caplog.text


def test_a_judge_that_says_nothing_keeps_temperature_1():
    found = fit_temperature(predictions_of({"ab": np.zeros(20), "ba": np.zeros(20)}), battles_of(np.ones(20)))
    assert (found.temperature, found.note) == (1.0, "")
    assert found.log_loss_after == pytest.approx(np.log(2))


def test_repeated_predictions_are_refused():
    predictions, battles = draw(2.0)
    with pytest.raises(PredictionsError, match="1 rows stand there more than once"):
        fit_temperature(pd.concat([predictions, predictions.head(1)]), battles)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature(np.ones((1, 2)), temperature)


def test_logits_are_divided():
    assert apply_temperature(np.array([[1.0, -2.0]]), 2.0).tolist() == [[0.5, -1.0]]
