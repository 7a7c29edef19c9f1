import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch

from tests.analysis.known_judges import make_battles, numbers_in, read
from wsdm_arena.analysis.cascades import NUM_SHARES, analyse_cascade
from wsdm_arena.config import CascadeConfig
from wsdm_arena.judging.cascade import run_cascade
from wsdm_arena.judging.reading import CascadeJudge
from wsdm_arena.metrics import correctness
from wsdm_arena.scoring.cascade import CascadeError, decide
from wsdm_arena.scoring.cascade_plan import plan_cascade
from wsdm_arena.scoring.ensemble import PredictionsError
from wsdm_arena.scoring.predictor import TokenizedPairs

NAMES = ("gemma", "llama")
NUM = 400
CONFIGS = [
    CascadeConfig(),
    CascadeConfig(weights={"gemma": 2.5}),
    CascadeConfig(weights={"gemma": 2.5}, threshold=0.8),
    CascadeConfig(weights={"llama": 3.0}),
    CascadeConfig(fit_share=0.3),
]


@pytest.fixture
def battles() -> pd.DataFrame:
    return make_battles(NUM, num_prompts=90)


@pytest.fixture
def predictions(battles) -> dict[str, pd.DataFrame]:
    """Both judges err by themselves, the first in order "ba" more; so does the second in order "ab"."""
    draws = np.random.default_rng(1)
    noise = draws.normal(0, [[1.0], [4.0], [4.0], [0.8]], (4, NUM))
    said = battles["margin"].to_numpy() + noise
    return {
        name: read(battles["pair_id"], *said[2 * number : 2 * number + 2], seed=number)
        for number, name in enumerate(NAMES)
    }


def _analyse(predictions, battles, config=CONFIGS[1], report=None, plan=None, **options):
    plan = plan or plan_cascade(config, predictions, battles, compare_with_threshold=0.8)
    given = {"stage": "student", "num_test_pairs": 1_000, "num_bootstrap_samples": 100} | options
    analysis = analyse_cascade(plan, predictions, battles, report, **given)
    assert json.loads(json.dumps(analysis, allow_nan=False)) == analysis
    return analysis


def _lead(table: pd.DataFrame, order: str, battles: pd.DataFrame) -> np.ndarray:
    rows = table[table["order"] == order].set_index("pair_id")["probabilities"].loc[battles["pair_id"]]
    values = np.array(rows.to_list(), dtype=np.float64)
    return values[:, 0] - values[:, 1]


def _accuracy(winners: np.ndarray, battles: pd.DataFrame) -> float:
    named = np.column_stack([winners == "model_a", winners == "model_b"]).astype(float)
    return float(correctness(named, battles[["probability_a", "probability_b"]].to_numpy()).mean())


def test_the_ends_are_the_first_judge_alone_and_both_judges_on_everything(predictions, battles):
    analysis = _analyse(predictions, battles)
    first, last = analysis["points"][0], analysis["points"][-1]
    d1, d2 = _lead(predictions["gemma"], "ab", battles), _lead(predictions["llama"], "ba", battles)
    alone, both = decide(d1, np.full(NUM, np.nan), (2.5, 1.0)), decide(d1, d2, (2.5, 1.0))
    assert (first["threshold"], first["share"], last["share"]) == (0, 0, 1)
    assert first["accuracy"]["value"] == pytest.approx(_accuracy(alone, battles))
    assert last["accuracy"]["value"] == pytest.approx(_accuracy(both, battles))
    assert _accuracy(alone, battles) != _accuracy(both, battles)
    assert {name: analysis[name] for name in ("stage", "judges", "weights", "num_battles", "num_test_pairs")} == {
        "stage": "student",
        "judges": ["gemma", "llama"],
        "weights": {"gemma": 2.5, "llama": 1.0},
        "num_battles": NUM,
        "num_test_pairs": 1_000,
    }


def test_points_lie_five_percent_apart_and_read_the_most_uncertain_first(predictions, battles):
    points = _analyse(predictions, battles)["points"]
    assert [point["share"] for point in points] == pytest.approx(np.linspace(0, 1, NUM_SHARES), abs=1 / NUM)
    d1 = np.abs(_lead(predictions["gemma"], "ab", battles))
    assert [point["share"] for point in points] == [(d1 < point["threshold"]).mean() for point in points]
    thresholds = [point["threshold"] for point in points]
    assert thresholds == sorted(set(thresholds))


def test_beyond_what_the_second_judge_can_change_nothing_changes(predictions, battles):
    points = _analyse(predictions, battles)["points"]
    decided = [point["accuracy"] for point in points if point["threshold"] >= 1 / 2.5]
    assert len(decided) > 3
    assert all(accuracy == decided[0] for accuracy in decided)


@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_in_use_is_what_the_plan_foretold(predictions, battles, config):
    plan = plan_cascade(config, predictions, battles, compare_with_threshold=0.8)
    analysis = _analyse(predictions, battles, config)
    assert analysis["threshold"] == analysis["in_use"]["threshold"] == plan["threshold"]
    assert analysis["weights"] == plan["weights"]
    assert analysis["in_use"]["share"] == pytest.approx(plan["held_out"]["share_selected"])
    if plan["fitted"]:
        assert analysis["in_use"]["accuracy"]["value"] == pytest.approx(plan["fitted"]["accuracy"])


class _Sequences:
    """Two tokens a row: its number, and whether B is shown first."""

    def sequence(self, row: int, order: str) -> np.ndarray:
        return np.array([row, int(order == "ba")], dtype=np.int32)


class _Reader:
    """Says of each pair what stands in the predictions."""

    def __init__(self, table: pd.DataFrame, pair_ids: list[str]) -> None:
        self.logits = table.set_index(["pair_id", "order"])["logits"]
        self.pair_ids = pair_ids

    def read(self, batches):
        for batch in batches:
            starts = np.array(batch.boundaries[:-1])
            rows, swapped = (batch.input_ids.numpy()[starts + offset] for offset in (0, 1))
            keys = [(self.pair_ids[row], "ba" if is_ba else "ab") for row, is_ba in zip(rows, swapped, strict=True)]
            yield torch.from_numpy(np.array(self.logits.loc[keys].to_list()))


def _open(table: pd.DataFrame, pair_ids: list[str]):
    @contextmanager
    def opened():
        yield _Reader(table, pair_ids)

    return opened


def _run(predictions, battles, plan):
    """The cascade that a submission runs, on the held-out battles."""
    pair_ids = battles["pair_id"].tolist()
    tokens = TokenizedPairs(
        pair_ids=np.array(pair_ids, dtype=object),
        stores=(_Sequences(),),
        store_numbers=np.zeros(NUM, dtype=np.int16),
        rows=np.arange(NUM, dtype=np.int64),
        lengths=np.full(NUM, 2, dtype=np.int32),
        truncated=np.zeros(NUM, dtype=bool),
    )
    judges = [CascadeJudge(name, tokens, _open(table, pair_ids)) for name, table in predictions.items()]
    return run_cascade(judges, battles.assign(id=pair_ids), weights=plan["weights"], threshold=plan["threshold"])


@pytest.mark.parametrize("config", CONFIGS)
def test_a_submission_of_the_same_battles_would_read_and_decide_alike(predictions, battles, config):
    plan = plan_cascade(config, predictions, battles, compare_with_threshold=0.8)
    result = _run(predictions, battles, plan)
    analysis = _analyse(predictions, battles, plan=plan, report=result.report.to_dict())
    winners = result.verdicts["winner"].to_numpy()
    assert analysis["in_use"]["accuracy"]["value"] == pytest.approx(_accuracy(winners, battles))
    assert analysis["in_use"]["share"] * NUM == pytest.approx(result.report.summary.num_read_twice)


def test_one_judge_is_one_point(predictions, battles):
    alone = {"gemma": predictions["gemma"]}
    analysis = _analyse(alone, battles)
    (point,) = analysis["points"]
    assert (analysis["threshold"], analysis["in_use"], analysis["judges"]) == (None, None, ["gemma"])
    assert analysis["weights"] == {"gemma": 2.5}
    assert point == _analyse(predictions, battles)["points"][0]
    work = {"num_pairs": 50, "seconds_loading": 3.0, "seconds_reading": 10.0}
    assert _analyse(alone, battles, report={"judges": [work]})["points"][0]["seconds"] == pytest.approx(3 + 200)


def test_seconds_are_those_of_loading_once_and_of_every_pair_that_is_read(predictions, battles):
    report = {
        "judges": [
            {"num_pairs": 50, "seconds_loading": 3.0, "seconds_reading": 10.0},
            {"num_pairs": 10, "seconds_loading": 5.0, "seconds_reading": 4.0},
        ]
    }
    analysis = _analyse(predictions, battles, report=report)
    for point in [*analysis["points"][1:], analysis["in_use"]]:
        assert point["seconds"] == pytest.approx(3 + 1_000 * 0.2 + 5 + 1_000 * point["share"] * 0.4)
    assert analysis["points"][0]["seconds"] == pytest.approx(203)  # the second judge is not loaded
    half = _analyse(predictions, battles, report=report, num_test_pairs=500)
    assert half["points"][-1]["seconds"] == pytest.approx(3 + 100 + 5 + 200)


def test_without_a_report_or_a_timed_second_judge_seconds_are_not_known(predictions, battles):
    never = {"num_pairs": 0, "seconds_loading": 0.0, "seconds_reading": 0.0}
    timed = {"num_pairs": 50, "seconds_loading": 3.0, "seconds_reading": 10.0}
    for report in (None, {"judges": [timed, never]}):
        analysis = _analyse(predictions, battles, report=report)
        assert {point["seconds"] for point in [*analysis["points"], analysis["in_use"]]} == {None}


def test_a_pair_that_was_voted_on_twice_is_read_once(predictions, battles):
    d1 = np.abs(_lead(predictions["gemma"], "ab", battles))
    uncertain = battles.iloc[[int(d1.argmin())] * 100].assign(battle_id=[f"f{number:031x}" for number in range(100)])
    analysis = _analyse(predictions, pd.concat([battles, uncertain]))
    assert analysis["num_battles"] == NUM + 100
    assert analysis["in_use"]["share"] == _analyse(predictions, battles)["in_use"]["share"]
    assert analysis["points"][1]["share"] == 1 / NUM  # one pair, a fifth of the votes
    assert analysis["points"][-1]["share"] == 1


def test_rows_may_come_in_any_order(predictions, battles):
    shuffled = {name: table.sample(frac=1, random_state=5) for name, table in predictions.items()}
    expected = numbers_in(_analyse(predictions, battles))
    assert numbers_in(_analyse(shuffled, battles.sample(frac=1, random_state=6))) == pytest.approx(expected, abs=1e-9)


def test_a_first_judge_that_is_equally_sure_of_all_has_two_points(predictions, battles):
    same = {"gemma": read(battles["pair_id"], np.full(NUM, 0.4), np.full(NUM, 0.4)), "llama": predictions["llama"]}
    points = _analyse(same, battles)["points"]
    assert [point["share"] for point in points] == [0, 1]
    assert points[0]["accuracy"]["value"] == pytest.approx((battles["probability_a"] == 1).mean())


def test_votes_for_a_tie_are_left_out_as_no_cascade_names_one(battles):
    draws = np.random.default_rng(0)
    said = {name: read(battles["pair_id"], *draws.normal(0, 1, (2, NUM, 3))) for name in NAMES}
    labels = np.eye(3)[draws.integers(0, 3, NUM)]
    names = ("probability_a", "probability_b", "probability_tie")
    voted = battles.assign(**dict(zip(names, labels.T, strict=True)))
    analysis = _analyse(said, voted)
    decided = voted[voted["probability_tie"] == 0]
    assert analysis["num_battles"] == len(decided) < NUM
    winners = decide(_lead(said["gemma"], "ab", decided), _lead(said["llama"], "ba", decided), (2.5, 1.0))
    is_right = np.where(winners == "model_a", decided["probability_a"], decided["probability_b"])
    assert analysis["points"][-1]["accuracy"]["value"] == pytest.approx(is_right.mean())


def test_readings_that_are_missing_or_there_twice_are_refused(predictions, battles):
    plan = plan_cascade(CONFIGS[1], predictions, battles, compare_with_threshold=0.8)
    second = predictions["llama"]
    first_pair = battles["pair_id"][0]
    gap = predictions | {"llama": second[~((second["order"] == "ba") & (second["pair_id"] == first_pair))]}
    with pytest.raises(CascadeError, match=f"llama did not read 1 of {NUM} held-out battles in order ba"):
        _analyse(gap, battles, plan=plan)
    with pytest.raises(PredictionsError, match="more than once"):
        _analyse(predictions | {"llama": pd.concat([second, second.iloc[[0]]])}, battles, plan=plan)
