"""Rows that say how good each judge and baseline is on which battles; everything that claims quality reads them."""

import pandas as pd

from wsdm_arena.metrics import read_both_ways
from wsdm_arena.scoring.baselines import score_baselines
from wsdm_arena.scoring.ensemble import average_orders, common_orders, probabilities_by_row
from wsdm_arena.scoring.scoreboard_rows import (
    STARTS,
    Measurement,
    Provenance,
    ScoreboardError,
    ScoreboardRow,
    data_fingerprint,
    describe_scored,
    measure_rows,
    merge_rows,
    slice_of,
    to_frame,
    without_start,
)

__all__ = [
    "BASELINE_STAGE",
    "NEW_PROMPTS",
    "STARTS",
    "TEST_PAIRS",
    "Measurement",
    "Provenance",
    "ScoreboardError",
    "ScoreboardRow",
    "baseline_rows",
    "baseline_rows_on_test_pairs",
    "data_fingerprint",
    "judge_rows",
    "known_votes",
    "merge_rows",
    "slice_of",
    "start_rows",
    "to_frame",
    "verdict_rows",
    "without_start",
]

BASELINE_STAGE = "baseline"
USUAL = Measurement()
TEST_PAIRS = "test_pairs"
NEW_PROMPTS = "test_pairs[new prompts]"
"""Those whose prompt no battle asks."""


def judge_rows(
    predictions: pd.DataFrame,
    battles: pd.DataFrame,
    *,
    stage: str,
    judge: str,
    fold: int | None,
    dataset: str = "battles",
    seen_in_training: bool = False,
    how: Measurement = USUAL,
) -> list[ScoreboardRow]:
    """Score a judge on one fold: a row for all battles, and one for each slice that is large enough.

    Predictions of both orders are averaged, then joined to the battles by ``pair_id``: a pair that was voted on twice
    counts twice.

    Args:
        predictions: As :class:`wsdm_arena.schemas.Predictions` describes them; pairs of other folds are ignored.
        battles: As :class:`wsdm_arena.schemas.Battles` describes them.
        stage: First column of the row.
        judge: Second column of the row.
        fold: Battles of this fold are scored; None scores all of them.
        dataset: Name of the table of battles.
        seen_in_training: Whether the judge learned from these battles.
        how: Intervals, truth, provenance.

    Raises:
        ScoreboardError: A battle has no prediction, or its classes are others.
        PredictionsError: A prediction occurs twice, or pairs were read in different orders.
    """
    scored = _battles_of(battles, fold)
    readings = probabilities_by_row(predictions[predictions["pair_id"].isin(scored["pair_id"])])
    orders = common_orders(readings)
    joined = scored[["battle_id", "pair_id"]].merge(
        average_orders(readings), left_on="pair_id", right_index=True, how="left", validate="many_to_one"
    )
    fingerprints = predictions["judge_fingerprint"].unique() if "judge_fingerprint" in predictions else [None]
    if len(fingerprints) > 1:
        raise ScoreboardError(
            f"{stage}.{judge}: predictions of {len(fingerprints)} judges in one table: {fingerprints}"
        )
    common = describe_scored(stage, judge, fold, scored, how) | {
        "seen_in_training": seen_in_training,
        "orders": orders,
        "judge_fingerprint": fingerprints[0] if len(fingerprints) else None,
    }
    read = predictions[predictions["pair_id"].isin(scored["pair_id"])]
    truncated = read.groupby("pair_id")["truncated"].any() if "truncated" in read else None
    return measure_rows(scored, joined, common, dataset, how, both_ways=read_both_ways(read), truncated=truncated)


def start_rows(
    predictions_at_start: pd.DataFrame,
    battles: pd.DataFrame,
    *,
    stage: str,
    judge: str,
    fold: int,
    how: Measurement = USUAL,
) -> list[ScoreboardRow]:
    """Score what a training set out from, on a sample of the held-out fold.

    Args:
        predictions_at_start: Before the first update; their ``judge_fingerprint`` ends with one of :data:`STARTS`.
        battles: As for :func:`judge_rows`.
        stage: That was trained; the row's own is ``<stage>.start`` or ``<stage>.zero_shot``.
        judge: Second column of the row.
        fold: That is held out.
        how: Intervals, truth, provenance.

    Returns:
        A row for the whole sample; none if nothing was read.
    """
    if predictions_at_start.empty:
        return []
    start = predictions_at_start["judge_fingerprint"].iloc[0].rpartition(".")[2]
    sample = battles[battles["pair_id"].isin(predictions_at_start["pair_id"])]
    rows = judge_rows(
        predictions_at_start, sample, stage=f"{stage}.{start}", judge=judge, fold=fold, dataset="sample", how=how
    )
    return [row for row in rows if not slice_of(row)]


def baseline_rows(
    battles: pd.DataFrame,
    *,
    fold: int,
    dataset: str = "battles",
    how: Measurement = USUAL,
) -> list[ScoreboardRow]:
    """Score the baselines on one fold, after learning from the others; the same slices as :func:`judge_rows`."""
    training, scored = battles[battles["fold"] != fold], _battles_of(battles, fold)
    return _baseline_rows(training, scored, fold, dataset, how)


def baseline_rows_on_test_pairs(
    battles: pd.DataFrame,
    votes: pd.DataFrame,
    *,
    fold: int,
    dataset: str = TEST_PAIRS,
    how: Measurement = USUAL,
) -> list[ScoreboardRow]:
    """Score the baselines on the test pairs, after learning from all folds but ``fold``; no rows without votes."""
    if votes.empty:
        return []
    training = battles[battles["fold"] != fold]
    if "probability_tie" in training:  # votes on test pairs are for A or B
        decided = training[training["probability_tie"] < 1].drop(columns="probability_tie")
        sides = decided[["probability_a", "probability_b"]]
        training = decided.assign(**sides.div(sides.sum(axis=1), axis=0))
    return _baseline_rows(training, votes, None, dataset, how)


def verdict_rows(
    verdicts: pd.DataFrame,
    votes: pd.DataFrame,
    *,
    stage: str,
    judge: str,
    dataset: str = TEST_PAIRS,
    how: Measurement = USUAL,
) -> list[ScoreboardRow]:
    """Score a cascade's verdicts on the test pairs; no rows where no vote is known.

    Args:
        verdicts: ``id``, ``winner``, ``probability_a``, ``probability_b`` (null where no judge read the pair: then the
            winner counts as barely likelier).
        votes: As :func:`known_votes` gives them.
        stage: First column of the row.
        judge: Second column of the row.
        dataset: Name of the votes.
        how: Intervals, truth, provenance.

    Raises:
        ScoreboardError: A vote has no verdict.
    """
    if votes.empty:
        return []
    barely = verdicts["winner"].map({"model_a": 0.51, "model_b": 0.49})
    # Votes on test pairs are for A or B: a judge that knows ties is asked which of the two.
    share = verdicts["probability_a"] / (verdicts["probability_a"] + verdicts["probability_b"])
    first = share.fillna(barely)
    read = pd.DataFrame({"id": verdicts["id"], "probability_a": first, "probability_b": 1 - first})
    predicted = votes[["battle_id", "id"]].merge(read, on="id", how="left", validate="many_to_one")
    return measure_rows(votes, predicted, describe_scored(stage, judge, None, votes, how), dataset, how)


def known_votes(test_pairs: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The test pairs whose vote is known, with labels as battles have them.

    A vote is known from the simulated arena, or where the test table has a column ``winner``; ties are left out.

    Returns:
        Rows of ``test_pairs`` with ``battle_id`` (the ``id``), ``probability_a`` and ``probability_b``; empty where
        no vote is known.
    """
    votes = test_pairs
    if "winner" not in test_pairs:
        known = truth[["id", "winner"]] if len(truth) else pd.DataFrame({"id": [], "winner": []}, dtype="str")
        votes = test_pairs.merge(known, on="id", how="inner", validate="one_to_one")
    votes = votes[votes["winner"].isin(["model_a", "model_b"])]
    is_first = votes["winner"] == "model_a"
    return votes.assign(
        battle_id=votes["id"], probability_a=is_first.astype(float), probability_b=(~is_first).astype(float)
    )


def _baseline_rows(
    training: pd.DataFrame, scored: pd.DataFrame, fold: int | None, dataset: str, how: Measurement
) -> list[ScoreboardRow]:
    rows = []
    for name, probabilities in score_baselines(training, scored, how.truth, seed=how.seed).items():
        common = describe_scored(BASELINE_STAGE, name, fold, scored, how)
        rows += measure_rows(scored, probabilities, common, dataset, how)
    return rows


def _battles_of(battles: pd.DataFrame, fold: int | None) -> pd.DataFrame:
    scored = battles if fold is None else battles[battles["fold"] == fold]
    if scored.empty:
        raise ScoreboardError(f"no battle stands in fold {fold}; folds are {sorted(battles['fold'].unique().tolist())}")
    return scored.reset_index(drop=True)
