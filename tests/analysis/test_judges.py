import json

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve

from tests.analysis.known_judges import make_battles, numbers_in, read
from wsdm_arena.analysis import judges
from wsdm_arena.analysis.abstention import MAX_RISK_POINTS, analyse_abstention
from wsdm_arena.analysis.judges import analyse_judge
from wsdm_arena.metrics import brier_score, correctness, expected_calibration_error, log_loss, wilson_interval
from wsdm_arena.scoring.calibration import CalibrationError, fit_temperature
from wsdm_arena.scoring.ensemble import PredictionsError
from wsdm_arena.scoring.scoreboard import ScoreboardError

LABELS = ["probability_a", "probability_b"]


def _analyse(predictions: pd.DataFrame, battles: pd.DataFrame, **options):
    given = {"stage": "teacher", "judge": "gemma", "fold": 0, "num_bootstrap_samples": 100} | options
    analysis = analyse_judge(predictions, battles, **given)
    assert json.loads(json.dumps(analysis, allow_nan=False)) == analysis
    return analysis


def _sure(battles: pd.DataFrame, factor: float = 1.0, **options) -> pd.DataFrame:
    """A judge that knows the odds, reads both orders alike, and claims them to the power of ``factor``."""
    return read(battles["pair_id"], factor * battles["margin"], factor * battles["margin"], **options)


def test_what_is_not_measured_is_told():
    battles = make_battles(50)
    analysis = _analyse(_sure(battles), battles, seen_in_training=True)
    told = {"stage": "teacher", "judge": "gemma", "fold": 0, "seen_in_training": True, "num_battles": 50}
    assert {name: analysis[name] for name in told} == told
    assert not _analyse(_sure(battles), battles)["seen_in_training"]


def test_rows_may_come_in_any_order_and_other_folds_do_not_count():
    battles = make_battles(300, num_prompts=70)
    elsewhere = make_battles(40, seed=9).assign(fold=1, pair_id=lambda table: "f" + table["pair_id"].str[1:])
    expected = numbers_in(_analyse(_sure(battles), battles))
    mixed = pd.concat([elsewhere, battles]).sample(frac=1, random_state=3)
    found = numbers_in(_analyse(pd.concat([_sure(elsewhere), _sure(battles, seed=8)]), mixed))
    assert found.keys() == expected.keys()
    assert {name: found[name] for name in found if isinstance(found[name], str)} == {
        name: expected[name] for name in expected if isinstance(expected[name], str)
    }
    numbers = [name for name in found if not isinstance(found[name], str)]
    assert [found[name] for name in numbers] == pytest.approx([expected[name] for name in numbers], abs=1e-9)


def test_what_does_not_belong_together_is_refused():
    battles = make_battles(20)
    predictions = _sure(battles)
    with pytest.raises(ScoreboardError, match=r"teacher\.gemma: no battle stands in fold 3"):
        _analyse(predictions, battles, fold=3)
    with pytest.raises(ScoreboardError, match="1 of 20 battles have no prediction"):
        _analyse(predictions[predictions["pair_id"] != battles["pair_id"][4]], battles)
    with pytest.raises(PredictionsError, match="more than once"):
        _analyse(pd.concat([predictions, predictions.iloc[[0]]]), battles)
    with pytest.raises(CalibrationError, match="2 classes"):
        _analyse(predictions, battles.assign(probability_tie=0.0))


# Calibration


def test_the_temperature_of_an_overconfident_judge_is_found_and_helps_on_the_other_half():
    battles = make_battles(6_000)
    found = _analyse(_sure(battles, 2.5), battles)["calibration"]
    assert found["temperature"] == pytest.approx(2.5, rel=0.1)
    for name in ("log_loss", "brier", "ece"):
        assert found["after"][name] < found["before"][name]
    assert found["after"]["ece"] < 0.04 < 0.1 < found["before"]["ece"]


def test_an_honest_judge_keeps_its_temperature():
    battles = make_battles(6_000)
    found = _analyse(_sure(battles), battles)["calibration"]
    assert found["temperature"] == pytest.approx(1, abs=0.1)
    assert found["after"]["log_loss"] == pytest.approx(found["before"]["log_loss"], abs=0.003)


def _halves(monkeypatch, battles: pd.DataFrame, predictions: pd.DataFrame, **options) -> tuple[set[str], dict]:
    """Pairs that the temperature is fitted on, and the analysis."""
    fitted: list[set[str]] = []

    def watched(readings, votes):
        assert set(readings["pair_id"]) == set(votes["pair_id"])
        fitted.append(set(votes["pair_id"]))
        return fit_temperature(readings, votes)

    monkeypatch.setattr(judges, "fit_temperature", watched)
    analysis = _analyse(predictions, battles, **options)
    (pairs,) = fitted
    return pairs, analysis["calibration"]


def test_halves_share_no_prompt_and_depend_on_the_seed_alone(monkeypatch):
    battles = make_battles(400, num_prompts=90)
    pairs, found = _halves(monkeypatch, battles, _sure(battles))
    of_fitted = battles["pair_id"].isin(pairs)
    assert not set(battles.loc[of_fitted, "prompt_group"]) & set(battles.loc[~of_fitted, "prompt_group"])
    assert (found["num_fitted"], found["num_judged"]) == (of_fitted.sum(), (~of_fitted).sum())
    assert 120 < found["num_fitted"] < 280
    assert sum(part["num_battles"] for part in found["bins_after"]) == found["num_judged"]
    assert sum(part["num_battles"] for part in found["bins_before"]) == 400
    shuffled = battles.sample(frac=1, random_state=5)
    assert _halves(monkeypatch, shuffled, _sure(battles, seed=4))[0] == pairs
    some = battles[battles["prompt_group"].str.endswith(("1", "2", "3"))]
    assert _halves(monkeypatch, some, _sure(battles))[0] == pairs & set(some["pair_id"])
    assert _halves(monkeypatch, battles, _sure(battles), seed=1)[0] != pairs


def test_scores_are_those_of_the_half_that_is_judged(monkeypatch):
    battles = make_battles(300)
    pairs, found = _halves(monkeypatch, battles, _sure(battles, 2.0))
    judged = battles[~battles["pair_id"].isin(pairs)]
    for name, temperature in (("before", 1.0), ("after", found["temperature"])):
        first = 1 / (1 + np.exp(-2.0 * judged["margin"].to_numpy() / temperature))
        given = np.column_stack([first, 1 - first]), judged[LABELS].to_numpy()
        expected = [metric(*given) for metric in (log_loss, brier_score, expected_calibration_error)]
        assert [found[name][key] for key in ("log_loss", "brier", "ece")] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("bins", ["bins_before", "bins_after"])
def test_reliability_bins_are_scikit_learns(monkeypatch, bins):
    battles = make_battles(1_500)
    pairs, found = _halves(monkeypatch, battles, _sure(battles, 1.7))
    shown = battles if bins == "bins_before" else battles[~battles["pair_id"].isin(pairs)]
    temperature = 1.0 if bins == "bins_before" else found["temperature"]
    margins = 1.7 * shown["margin"].to_numpy() / temperature
    is_right = (margins > 0) == (shown["probability_a"] == 1)
    confidences = 1 / (1 + np.exp(-np.abs(margins)))
    accuracies, means = calibration_curve(is_right, confidences, n_bins=15)
    assert [part["accuracy"]["value"] for part in found[bins]] == pytest.approx(accuracies)
    assert [part["mean_confidence"] for part in found[bins]] == pytest.approx(means, abs=1e-6)
    for part in found[bins]:
        assert part["confidence_low"] < part["mean_confidence"] <= part["confidence_high"]
        assert part["confidence_high"] - part["confidence_low"] == pytest.approx(1 / 15)
        assert part["num_battles"] == part["accuracy"]["num_battles"] > 0
        assert part["accuracy"]["low"] <= part["accuracy"]["value"] <= part["accuracy"]["high"]


# Swaps


def test_a_consistent_judge_never_flips():
    battles = make_battles(200)
    found = _analyse(_sure(battles), battles)["swap"]
    assert found["num_pairs"] == 200
    low, high = wilson_interval(0, 200)
    assert found["flip_rate"] == {"value": 0, "low": low, "high": high, "num_battles": 200}
    assert found["gap"]["value"] == 0
    assert found["first_shown"]["value"] == 0.5
    assert found["gaps"][0]["num_pairs"] == 200
    assert [found["gaps"][0]["low"], found["gaps"][-1]["high"], len(found["gaps"])] == [0, 1, 20]


def _mirrored(battles: pd.DataFrame) -> pd.DataFrame:
    """The same battles with A and B exchanged."""
    columns = ["response_a", "response_b", *LABELS]
    exchanged = ["response_b", "response_a", *LABELS[::-1]]
    return battles.assign(**{name: battles[other] for name, other in zip(columns, exchanged, strict=True)})


def test_exchanging_a_and_b_throughout_changes_nothing_but_the_sides():
    battles = make_battles(500, num_prompts=120)
    noise = np.random.default_rng(2).normal(0.4, 1, (2, 500))
    ab, ba = battles["margin"].to_numpy() + noise * [[1], [-1]]
    # What was shown first in order "ab" is now B: that reading is the mirror image's "ba".
    found = _analyse(read(battles["pair_id"], ab, ba), battles)
    mirror = _analyse(read(battles["pair_id"], -ba, -ab), _mirrored(battles))
    bins = [analysis["length"].pop("bins") for analysis in (found, mirror)]
    assert 0 < found["swap"]["flip_rate"]["value"] < 1
    assert found["swap"]["first_shown"]["value"] > 0.5
    assert numbers_in(mirror) == pytest.approx(numbers_in(found), abs=1e-6)
    assert [part["num_battles"] for part in bins[1]] == [part["num_battles"] for part in bins[0]][::-1]
    for name in ("vote", "judge"):
        values, opposite = ([part[name]["value"] for part in parts] for parts in bins)
        assert opposite == pytest.approx([1 - value for value in values[::-1]], abs=1e-6)


@pytest.mark.parametrize(("sign", "named"), [(1, 1.0), (-1, 0.0)])
def test_a_judge_that_always_names_the_place_always_flips(sign, named):
    battles = make_battles(200)
    margin = np.full(200, sign * np.log(3))  # 0.75
    found = _analyse(read(battles["pair_id"], margin, -margin), battles)["swap"]
    assert (found["flip_rate"]["value"], found["first_shown"]["value"]) == (1, named)
    assert found["gap"]["value"] == pytest.approx(0.5)
    assert sum(part["num_pairs"] for part in found["gaps"] if 0.449 < part["low"] < 0.501) == 200


def test_a_judge_that_read_one_order_has_no_swaps_and_one_that_read_some_in_both_has_those():
    battles = make_battles(200)
    alone = _analyse(read(battles["pair_id"], battles["margin"]), battles)
    assert alone["swap"] is None
    both = _analyse(_sure(battles), battles)
    assert alone["abstention"] == both["abstention"]
    predictions = _sure(battles)
    some = (predictions["order"] == "ab") | predictions["pair_id"].isin(battles["pair_id"][:30])
    assert _analyse(predictions[some], battles)["swap"]["num_pairs"] == 30


# Length


def _with_lengths(first: list[int], second: list[int], votes: list[float]) -> pd.DataFrame:
    texts = {"response_a": ["x" * length for length in first], "response_b": ["x" * length for length in second]}
    labels = {"probability_a": votes, "probability_b": [1 - vote for vote in votes]}
    return make_battles(len(first), **texts, **labels)


def test_a_judge_that_names_the_longer_answer_is_found_out():
    battles = make_battles(400)
    lengths = battles["response_a"].str.len() - battles["response_b"].str.len()
    margins = np.sign(lengths).astype(float)
    found = _analyse(read(battles["pair_id"], margins, margins), battles)["length"]
    differ = battles[lengths != 0]
    won = (lengths > 0) == (battles["probability_a"] == 1)
    assert found["names_longer"]["value"] == 1
    assert found["names_longer"]["num_battles"] == found["longer_won"]["num_battles"] == len(differ) < 400
    assert found["longer_won"]["value"] == pytest.approx(won[differ.index].mean())
    assert (found["accuracy_longer_won"]["value"], found["accuracy_shorter_won"]["value"]) == (1, 0)
    assert found["accuracy_longer_won"]["num_battles"] == won[differ.index].sum()
    opposite = _analyse(read(battles["pair_id"], -margins, -margins), battles)["length"]
    assert opposite["names_longer"]["value"] == 0
    assert opposite["accuracy_shorter_won"]["value"] == 1


def test_lengths_by_hand():
    first = [10, 20, 10, 10, 30, 5, 0, 12]
    second = [20, 10, 10, 12, 20, 12, 1, 10]  # ratios 1/2, 2, 1, 0.83, 1.5, 0.42, 1 (as if 1 : 1), 1.2
    votes = [1.0, 1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.75]
    battles = _with_lengths(first, second, votes)
    margins = np.log(3) * np.array([1, 1, 1, 1, -1, -1, 1, -1])
    found = _analyse(read(battles["pair_id"], margins, margins), battles)["length"]
    assert found["names_longer"]["value"] == pytest.approx(2 / 7)  # 20 : 10 and 5 : 12
    assert found["longer_won"]["value"] == pytest.approx((0 + 1 + 0.5 + 0 + 1 + 0 + 1) / 7)
    assert found["accuracy_longer_won"]["value"] == pytest.approx(2 / 3)  # not the last: A won with 0.75
    assert found["accuracy_longer_won"]["num_battles"] == 3
    assert found["accuracy_shorter_won"]["value"] == 1
    assert found["accuracy_shorter_won"]["num_battles"] == 3
    assert [(part["label"], part["num_battles"]) for part in found["bins"]] == [
        ("B twice as long or more", 2),
        ("about as long", 4),
        ("A longer", 1),
        ("A twice as long or more", 1),
    ]
    assert found["bins"][1]["vote"]["value"] == pytest.approx((0 + 0.5 + 1 + 0.75) / 4)
    assert found["bins"][1]["judge"]["value"] == pytest.approx((3 * 0.75 + 0.25) / 4)


def test_answers_that_are_null_empty_or_equally_long():
    battles = make_battles(6, response_a=[None, "", None, "abc", "x", ""], response_b=["abc", "", None, None, "x", "a"])
    found = _analyse(_sure(battles), battles)["length"]
    assert found["names_longer"]["num_battles"] == 3
    assert sum(part["num_battles"] for part in found["bins"]) == 6
    alike = _analyse(_sure(battles), battles.assign(response_a="x", response_b="y"))["length"]
    assert alike["names_longer"] == {"value": 0, "low": 0, "high": 1, "num_battles": 0}


# Abstention


def _sides(confidences: list[float]) -> np.ndarray:
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


def _won(*winners: int) -> np.ndarray:
    """A won where there is a 1."""
    return np.array([[winner, 1 - winner] for winner in winners], dtype=float)


def test_risk_and_coverage_by_hand():
    found = analyse_abstention(_sides([0.7, 0.9, 0.6, 0.8]), _won(1, 1, 0, 0))
    points = [(point["coverage"], point["risk"], point["confidence"]) for point in found["points"]]
    assert points == [
        pytest.approx(point) for point in [(0.25, 0, 0.9), (0.5, 0.5, 0.8), (0.75, 1 / 3, 0.7), (1, 0.5, 0.6)]
    ]
    assert found["area"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]])
def test_equally_sure_verdicts_come_together(order):
    found = analyse_abstention(_sides([0.9, 0.8, 0.8, 0.6])[order], _won(1, 0, 1, 0)[order])
    assert [(point["coverage"], point["risk"]) for point in found["points"]] == [
        (0.25, 0),
        (0.75, pytest.approx(1 / 3)),
        (1, 0.5),
    ]
    assert found["area"] == pytest.approx((0 + 2 * 1 / 3 + 1 / 2) / 4)


def test_who_is_equally_sure_of_everything_has_the_overall_risk():
    found = analyse_abstention(_sides([0.7] * 10), _won(*[1] * 6, *[0] * 4))
    assert [(point["coverage"], point["risk"]) for point in found["points"]] == [(1, pytest.approx(0.4))]
    assert found["area"] == pytest.approx(0.4)


def test_confidence_that_orders_errors_perfectly_has_the_least_area_and_the_opposite_the_most():
    draws = np.random.default_rng(0)
    is_right = draws.random(2_000) < 0.7
    shares = np.linspace(0.51, 0.99, 2_000)
    votes = _won(*is_right.astype(int))

    def area(is_surer: np.ndarray) -> float:
        confidences = np.empty(2_000)
        confidences[np.argsort(is_surer)] = shares
        return analyse_abstention(_sides(confidences.tolist()), votes)["area"]

    perfect, by_lot, worst = area(is_right), area(draws.random(2_000)), area(~is_right)
    error = 1 - is_right.mean()
    assert perfect == pytest.approx(error + (1 - error) * np.log(1 - error), abs=0.002)  # Geifman et al. 2019
    assert by_lot == pytest.approx(error, abs=0.05)
    assert perfect < by_lot - 0.2 < worst - 0.4


def test_at_most_101_points_are_kept_and_the_ends_are_among_them():
    for num in (1, 100, 101, 102, 5_000):
        confidences = np.linspace(0.501, 1, num).tolist()
        points = analyse_abstention(_sides(confidences), _won(*[1] * num))["points"]
        coverages = [point["coverage"] for point in points]
        assert len(points) == min(num, MAX_RISK_POINTS)
        assert (coverages[0], coverages[-1]) == (pytest.approx(1 / num), 1)
        assert coverages == sorted(set(coverages))


def test_the_judge_abstains_by_the_mean_of_both_orders():
    battles = make_battles(50)
    ab, ba = battles["margin"] + 0.5, battles["margin"] - 0.5
    found = _analyse(read(battles["pair_id"], ab, ba), battles)["abstention"]
    first = (1 / (1 + np.exp(-ab)) + 1 / (1 + np.exp(-ba))).to_numpy() / 2
    expected = analyse_abstention(np.column_stack([first, 1 - first]), battles[LABELS].to_numpy())
    assert found["area"] == pytest.approx(expected["area"])
    assert found["points"][0]["confidence"] == pytest.approx(max(first.max(), 1 - first.min()))


# Odd tables


def test_three_classes():
    draws = np.random.default_rng(0)
    logits = draws.normal(0, 1, (900, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    votes = np.array([draws.multinomial(1, row) for row in chances], dtype=float)
    labels = dict(zip((*LABELS, "probability_tie"), votes.T, strict=True))
    battles = make_battles(900, **labels)
    found = _analyse(read(battles["pair_id"], 2 * logits, 2 * logits), battles)
    assert found["calibration"]["temperature"] == pytest.approx(2, rel=0.25)
    assert found["calibration"]["bins_before"][0]["confidence_low"] >= 1 / 3 - 1e-9
    risk = found["abstention"]["points"][-1]["risk"]
    assert risk == pytest.approx(1 - correctness(chances, votes).mean())
    means = [(part["num_battles"], part["vote"]["value"]) for part in found["length"]["bins"]]
    total = sum(size * mean for size, mean in means)
    assert total == pytest.approx((votes[:, 0] + votes[:, 2] / 2).sum())
    judged = sum(part["num_battles"] * part["judge"]["value"] for part in found["length"]["bins"])
    doubled = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    assert judged == pytest.approx((doubled[:, 0] + doubled[:, 2] / 2).sum(), rel=1e-5)


def test_a_vote_for_a_tie_was_won_by_neither_length():
    battles = make_battles(40, probability_a=0.0, probability_b=0.0, probability_tie=1.0)
    logits = np.tile([0.0, 0.1, 2.0], (40, 1))
    found = _analyse(read(battles["pair_id"], logits, logits), battles)["length"]
    assert found["longer_won"]["value"] == found["names_longer"]["value"] == 0
    assert found["accuracy_longer_won"]["num_battles"] == found["accuracy_shorter_won"]["num_battles"] == 0


def test_soft_labels():
    battles = make_battles(4_000)
    chances = 1 / (1 + np.exp(-battles["margin"]))
    soft = battles.assign(probability_a=chances, probability_b=1 - chances)
    found = _analyse(_sure(soft, 3.0), soft)
    assert found["calibration"]["temperature"] == pytest.approx(3, rel=0.01)  # they say the odds themselves
    assert found["calibration"]["after"]["brier"] == pytest.approx(0, abs=1e-4)
    assert found["abstention"]["area"] == 0
    undecided = soft.assign(probability_a=0.5, probability_b=0.5)
    assert _analyse(_sure(soft), undecided)["abstention"]["area"] == pytest.approx(0.5)


def test_a_pair_that_was_voted_on_twice_counts_twice_but_is_read_once():
    battles = make_battles(60)
    again = battles.iloc[[7]].assign(battle_id="f" * 32, probability_a=0.5, probability_b=0.5)
    found = _analyse(_sure(battles), pd.concat([battles, again]))
    once = _analyse(_sure(battles), battles)
    assert found["num_battles"] == 61
    assert found["calibration"]["num_fitted"] + found["calibration"]["num_judged"] == 61
    assert found["swap"] == once["swap"]
    risks = [analysis["abstention"]["points"][-1]["risk"] for analysis in (found, once)]
    assert risks[0] * 61 == pytest.approx(risks[1] * 60 + 0.5)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_a_fold_with_hardly_any_battle(num):
    battles = make_battles(num, num_prompts=1)
    found = _analyse(_sure(battles), battles)
    assert found["num_battles"] == found["calibration"]["num_fitted"] == found["calibration"]["num_judged"] == num
    assert found["abstention"]["points"][-1]["coverage"] == 1
    accuracy = found["calibration"]["bins_before"][0]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1


def test_intervals_obey_their_options():
    battles = make_battles(300, num_prompts=60)
    predictions = read(battles["pair_id"], battles["margin"] + 0.5, battles["margin"] - 0.5)

    def gap(**options):
        return _analyse(predictions, battles, **options)["swap"]["gap"]

    assert gap() == gap()
    assert gap(seed=1) != gap(seed=2)
    assert gap(num_bootstrap_samples=50) != gap(num_bootstrap_samples=200)
    assert gap(confidence=0.5)["high"] < gap(confidence=0.99)["high"]
    flips = _analyse(predictions, battles.assign(prompt_group=[f"p{number}" for number in range(300)]))["swap"]
    assert flips["flip_rate"] != _analyse(predictions, battles)["swap"]["flip_rate"]
