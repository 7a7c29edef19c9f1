import json

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.metrics import bootstrap_interval
from wsdm_arena.scoring.ensemble import PredictionsError
from wsdm_arena.scoring.scoreboard import (
    Measurement,
    Provenance,
    ScoreboardError,
    baseline_rows,
    data_fingerprint,
    judge_rows,
    merge_rows,
    slice_of,
    to_frame,
)
from wsdm_arena.scoring.scoreboard_table import render_scoreboard

KEYS = [
    "stage", "judge", "dataset", "num_pairs", "accuracy", "accuracy_low", "accuracy_high", "log_loss",
    "brier", "ece", "flip_rate", "swap_gap", "fold", "seen_in_training", "orders", "run_id", "judge_fingerprint",
    "data_fingerprint", "env", "command",
]  # fmt: skip


@pytest.fixture
def battles() -> pd.DataFrame:
    """Forty votes in fold 0, A always better, and forty in fold 1; English and Russian, of two sources."""
    number = np.arange(80)
    first_wins = (number % 4 != 3).astype(float)
    return pd.DataFrame(
        {
            "pair_id": [f"{value:032x}" for value in number],
            "battle_id": [f"{value + 1000:032x}" for value in number],
            "id": [f"v{value}" for value in number],
            "fold": number // 40,
            "source": np.where(number % 40 < 33, "big", "small"),
            "language": np.where(number % 40 < 34, "en", "ru"),
            "response_a": ["a long answer"] * 80,
            "response_b": ["short"] * 80,
            "probability_a": first_wins,
            "probability_b": 1 - first_wins,
        }
    )


def _predict(battles: pd.DataFrame, first=(0.8, 0.2), second=(0.6, 0.4)) -> pd.DataFrame:
    readings = [
        pd.DataFrame({"pair_id": battles["pair_id"].unique(), "order": order}).assign(
            probabilities=lambda table, values=values: [np.array(values)] * len(table), judge_fingerprint="abc"
        )
        for order, values in (("ab", first), ("ba", second))
    ]
    return pd.concat(readings, ignore_index=True).sample(frac=1, random_state=0)  # never joined by position


def _rows(predictions, battles, **options):
    return judge_rows(predictions, battles, **({"stage": "teacher", "judge": "gemma", "fold": 0} | options))


def test_a_judge_is_one_row_with_exactly_the_scoreboards_keys(battles):
    provenance = Provenance(run_id="r1", env="sample", command="kedro run")
    row = _rows(_predict(battles), battles, how=Measurement(provenance=provenance), seen_in_training=True)[0]
    assert list(row) == KEYS
    low, high = bootstrap_interval(np.arange(40) % 4 != 3, battles["pair_id"][:40])
    expected = {
        "stage": "teacher", "judge": "gemma", "dataset": "battles[fold 0]", "num_pairs": 40, "accuracy": 0.75,
        "accuracy_low": low, "accuracy_high": high, "flip_rate": 0.0, "fold": 0, "seen_in_training": True,
        "orders": "ab+ba", "run_id": "r1", "judge_fingerprint": "abc", "env": "sample", "command": "kedro run",
        "data_fingerprint": data_fingerprint(battles[battles["fold"] == 0]),
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert row["log_loss"] == pytest.approx(-0.75 * np.log(0.7) - 0.25 * np.log(0.3))
    assert row["ece"] == pytest.approx(0.05)
    assert row["brier"] == pytest.approx(2 * (0.75 * 0.3**2 + 0.25 * 0.7**2))
    assert row["swap_gap"] == pytest.approx(0.2)


def test_intervals_are_those_that_were_asked_for_and_know_which_battles_share_a_prompt(battles):
    predictions = _predict(battles)

    def width(table=battles, **how):
        row = _rows(predictions, table, how=Measurement(**how))[0]
        return row["accuracy_high"] - row["accuracy_low"]

    assert width(confidence=0.5) < width() < width(confidence=0.99)
    assert len({width(seed=seed, num_bootstrap_samples=20) for seed in range(5)}) > 1
    assert width(num_bootstrap_samples=20) != width()
    # Each prompt is asked ten times, and the judge is right on all of these battles or on none.
    same = battles.assign(prompt_group=[f"{value % 4}" for value in range(80)])
    assert width(same) > 2 * width()
    assert width(same) == width(same.drop(columns="prompt_group").assign(prompt=same["prompt_group"]))


def test_slices_have_swap_gaps_of_their_own_pairs(battles):
    english = battles["language"] == "en"
    read = pd.concat([_predict(battles[english]), _predict(battles[~english], (0.9, 0.1), (0.1, 0.9))])
    gaps = {slice_of(row): (row["flip_rate"], row["swap_gap"]) for row in _rows(read, battles)}
    assert gaps["language=en"] == pytest.approx((0, 0.2))
    assert gaps[""] == pytest.approx((6 / 40, (34 * 0.2 + 6 * 0.8) / 40))


def test_truncated_pairs_have_a_row_if_either_reading_was_cut(battles):
    predictions = _predict(battles)
    numbers = predictions["pair_id"].map(lambda name: int(name, 16))
    cut = predictions.assign(truncated=(numbers < 31) & (predictions["order"] == "ba"))
    rows = {slice_of(row): row["num_pairs"] for row in _rows(cut, battles)}
    assert rows["truncated=yes"] == 31
    assert "truncated=no" not in rows  # nine are too few
    assert "truncated=yes" not in {slice_of(row) for row in _rows(predictions, battles)}


@pytest.mark.parametrize("whole", ["battles[fold 0]", "test_pairs", "test_pairs[new prompts]", "sample[fold 12]"])
@pytest.mark.parametrize(
    "part", ["", "source=my [own] file", "models=gpt[4] vs llama [8b] x", "language=", "flaw=a vs b"]
)
def test_the_slice_is_told_from_its_dataset_whatever_its_value(whole, part):
    assert slice_of({"dataset": f"{whole} {part}".strip()}) == part


def test_rows_are_json_even_where_a_value_does_not_apply(battles):
    predictions = _predict(battles)
    one_order = _rows(predictions[predictions["order"] == "ab"], battles)
    rows = [*one_order, *baseline_rows(battles, fold=0)]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert (one_order[0]["orders"], one_order[0]["flip_rate"]) == ("ab", None)


def test_orders_are_averaged_and_flips_counted(battles):
    row = _rows(_predict(battles, first=(0.9, 0.1), second=(0.4, 0.6)), battles)[0]
    assert row["flip_rate"] == 1
    assert row["accuracy"] == 0.75  # (0.65, 0.35) on average


def test_a_pair_voted_on_twice_counts_twice(battles):
    second_vote = battles.iloc[[0]].assign(battle_id="f" * 32, probability_a=0.0, probability_b=1.0)
    row = _rows(_predict(battles), pd.concat([battles, second_vote]))[0]
    assert row["num_pairs"] == 41
    assert row["accuracy"] == pytest.approx(30 / 41)


def test_a_battle_without_prediction_is_an_error_that_names_it(battles):
    predictions = _predict(battles)
    first = battles["pair_id"][0]
    with pytest.raises(
        ScoreboardError, match=f"teacher.gemma: 1 of 40 battles have no prediction, such as pair {first}"
    ):
        _rows(predictions[predictions["pair_id"] != first], battles)


def test_surplus_mixed_and_foreign_predictions_are_refused(battles):
    predictions = _predict(battles)
    with pytest.raises(PredictionsError, match="1 rows stand there more than once"):
        _rows(pd.concat([predictions, predictions[predictions["pair_id"] == battles["pair_id"][0]].iloc[[0]]]), battles)
    first = (predictions["pair_id"] == battles["pair_id"][0]) & (predictions["order"] == "ab")
    with pytest.raises(PredictionsError, match=r"different orders: 39 in ab\+ba, 1 in ba"):
        _rows(predictions[~first], battles)
    with pytest.raises(ScoreboardError, match="2 judges in one table"):
        _rows(predictions.assign(judge_fingerprint=["x"] + ["y"] * (len(predictions) - 1)), battles)
    with pytest.raises(ScoreboardError, match="classes"):
        _rows(_predict(battles, (0.5, 0.4, 0.1), (0.5, 0.4, 0.1)), battles)
    with pytest.raises(ScoreboardError, match=r"no battle stands in fold 7; folds are \[0, 1\]"):
        _rows(predictions, battles, fold=7)


def test_languages_and_sources_have_rows_where_they_are_large_enough(battles):
    rows = _rows(_predict(battles), battles)
    assert [(slice_of(row), row["num_pairs"]) for row in rows] == [("", 40), ("source=big", 33), ("language=en", 34)]
    alone = _rows(_predict(battles), battles.assign(source="one", language="en"))
    assert [row["dataset"] for row in alone] == ["battles[fold 0]"]


def test_a_flaw_is_judged_against_the_sound_answer_and_not_the_vote(battles):
    number = np.arange(80)
    flaw_a = np.where(number % 40 < 32, "none", "cut_off")
    truth = pd.DataFrame(
        {"id": battles["id"], "flaw_a": flaw_a, "flaw_b": np.where(number % 2, "refusal", "off_topic")}
    )
    truth.loc[number % 40 < 30, "flaw_b"] = "refusal"
    (row,) = [
        row for row in _rows(_predict(battles), battles, how=Measurement(truth=truth)) if "flaw" in row["dataset"]
    ]
    assert row["dataset"] == "battles[fold 0] flaw=refusal vs none"
    assert row["num_pairs"] == 31
    assert row["accuracy"] == 1  # A is sound in all of them, though a quarter of the votes went to B
    for other in (pd.DataFrame(), truth.assign(id="x" + truth["id"])):
        rows = _rows(_predict(battles), battles, how=Measurement(truth=other))
        assert not [row for row in rows if "flaw" in row["dataset"]]


def test_baselines_learn_from_the_other_folds_only(battles):
    truth = pd.DataFrame({"id": battles["id"], "probability_a": 0.75, "flaw_a": "none", "flaw_b": "none"})
    rows = [row for row in baseline_rows(battles, fold=0, how=Measurement(truth=truth)) if not slice_of(row)]
    assert [(row["stage"], row["judge"]) for row in rows] == [
        ("baseline", name) for name in ("longer_wins", "majority", "tfidf", "ceiling")
    ]
    assert rows[0]["accuracy"] == rows[3]["accuracy"] == 0.75
    flipped = battles.assign(probability_a=battles["probability_b"], probability_b=battles["probability_a"])
    mixed = pd.concat([battles[battles["fold"] == 0], flipped[flipped["fold"] == 1]])
    majority = next(row for row in baseline_rows(mixed, fold=0) if row["judge"] == "majority")
    assert majority["accuracy"] == 0.25  # the training fold's majority is B
    assert not [row for row in baseline_rows(battles, fold=0) if row["judge"] == "ceiling"]


def test_scoring_all_folds_says_so(battles):
    row = _rows(_predict(battles), battles, fold=None, dataset="collected_pairs")[0]
    assert (row["dataset"], row["num_pairs"], row["fold"]) == ("collected_pairs", 80, None)


def test_data_fingerprint_names_rows_and_labels_but_not_their_order(battles):
    name = data_fingerprint(battles)
    assert data_fingerprint(battles.iloc[::-1]) == name
    assert data_fingerprint(battles.iloc[1:]) != name
    assert data_fingerprint(battles.assign(probability_a=0.5, probability_b=0.5)) != name


def test_merging_replaces_rows_of_the_same_thing_and_keeps_the_rest(battles):
    old, new = _rows(_predict(battles), battles), _rows(_predict(battles, (0.1, 0.9), (0.1, 0.9)), battles)
    other = _rows(_predict(battles), battles, judge="llama")
    merged = merge_rows(old, other, new[:1])
    assert len(merged) == 6
    assert merged[0]["accuracy"] == 0.25
    assert merged[1]["accuracy"] == old[1]["accuracy"]
    assert list(to_frame(merged).columns) == list(to_frame([]).columns) == KEYS


def test_the_table_for_people_shows_every_judge_and_slice(battles):
    judged = _rows(_predict(battles), battles)
    rows = [*baseline_rows(battles, fold=0), *judged]
    text = render_scoreboard(rows)
    for part in (
        "longer_wins",
        "gemma",
        "battles[fold 0]",
        "0.750",
        f"{judged[0]['accuracy_low']:.3f}-{judged[0]['accuracy_high']:.3f}",
        "accuracy by source",
        "accuracy by language",
    ):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 120
    assert render_scoreboard([])
