"""Rows that say how good each judge and baseline is on which battles; everything that claims quality reads them."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from wsdm_arena.errors import UserError
from wsdm_arena.metrics import accuracy, correctness, expected_calibration_error, flip_rate, log_loss, wilson_interval
from wsdm_arena.schemas import LABEL_COLUMNS
from wsdm_arena.scoring.baselines import score_baselines
from wsdm_arena.scoring.ensemble import average_orders, common_orders, probabilities_by_row

BASELINE_STAGE = "baseline"
TEST_PAIRS = "test_pairs"
NEW_PROMPTS = "test_pairs[new prompts]"
"""Those whose prompt no battle asks."""
SOUND = "none"
"""What a sound answer has in the truth's columns ``flaw_a`` and ``flaw_b``."""
MIN_SLICE_BATTLES = 30
"""Slices of fewer battles get no row: their interval would be wider than 35 points."""


class ScoreboardRow(TypedDict):
    """One line of the scoreboard, as JSON holds it; what does not apply is null."""

    stage: str
    judge: str
    dataset: str
    num_pairs: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    ece: float
    flip_rate: float | None
    fold: int | None
    seen_in_training: bool
    orders: str | None
    run_id: str | None
    judge_fingerprint: str | None
    data_fingerprint: str
    env: str | None
    command: str | None


@dataclass(frozen=True)
class Provenance:
    """Which run a row comes from."""

    run_id: str | None = None
    env: str | None = None
    command: str | None = None


class ScoreboardError(UserError, ValueError):
    """Predictions and battles do not belong together."""


def judge_rows(
    predictions: pd.DataFrame,
    battles: pd.DataFrame,
    *,
    stage: str,
    judge: str,
    fold: int | None,
    dataset: str = "battles",
    seen_in_training: bool = False,
    truth: pd.DataFrame | None = None,
    confidence: float = 0.95,
    provenance: Provenance = Provenance(),
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
        truth: ``id``, ``flaw_a``, ``flaw_b`` of simulated battles, for a row a flaw; None or empty elsewhere.
        confidence: Of the intervals.
        provenance: Which run this is.

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
    template = _template(stage, judge, fold, provenance, data_fingerprint(scored)) | {
        "seen_in_training": seen_in_training,
        "orders": orders,
        "judge_fingerprint": fingerprints[0] if len(fingerprints) else None,
    }

    def flips(pairs: pd.Series) -> float | None:
        return _or_none(flip_rate(predictions[predictions["pair_id"].isin(pairs)]))

    return _rows(scored, joined, template, dataset, truth, confidence, flips)


def baseline_rows(
    battles: pd.DataFrame,
    *,
    fold: int,
    dataset: str = "battles",
    truth: pd.DataFrame | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    provenance: Provenance = Provenance(),
) -> list[ScoreboardRow]:
    """Score the baselines on one fold, after learning from the others; the same slices as :func:`judge_rows`."""
    training, scored = battles[battles["fold"] != fold], _battles_of(battles, fold)
    return _baseline_rows(training, scored, fold, dataset, truth, confidence, seed, provenance)


def baseline_rows_on_test_pairs(
    battles: pd.DataFrame,
    votes: pd.DataFrame,
    *,
    fold: int,
    dataset: str = TEST_PAIRS,
    truth: pd.DataFrame | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    provenance: Provenance = Provenance(),
) -> list[ScoreboardRow]:
    """Score the baselines on the test pairs, after learning from all folds but ``fold``; no rows without votes."""
    if votes.empty:
        return []
    training = battles[battles["fold"] != fold]
    if "probability_tie" in training:  # votes on test pairs are for A or B
        decided = training[training["probability_tie"] < 1].drop(columns="probability_tie")
        sides = decided[["probability_a", "probability_b"]]
        training = decided.assign(**sides.div(sides.sum(axis=1), axis=0))
    return _baseline_rows(training, votes, None, dataset, truth, confidence, seed, provenance)


def verdict_rows(
    verdicts: pd.DataFrame,
    votes: pd.DataFrame,
    *,
    stage: str,
    judge: str,
    dataset: str = TEST_PAIRS,
    truth: pd.DataFrame | None = None,
    confidence: float = 0.95,
    provenance: Provenance = Provenance(),
) -> list[ScoreboardRow]:
    """Score a cascade's verdicts on the test pairs; no rows where no vote is known.

    Args:
        verdicts: ``id``, ``winner``, ``probability_a``, ``probability_b`` (null where no judge read the pair: then the
            winner counts as barely likelier).
        votes: As :func:`known_votes` gives them.
        stage: First column of the row.
        judge: Second column of the row.
        dataset: Name of the votes.
        truth: ``id``, ``flaw_a``, ``flaw_b``, for a row a flaw.
        confidence: Of the intervals.
        provenance: Which run this is.

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
    template = _template(stage, judge, None, provenance, data_fingerprint(votes))
    return _rows(votes, predicted, template, dataset, truth, confidence, lambda _: None)


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


def data_fingerprint(battles: pd.DataFrame) -> str:
    """Name the battles that were scored and their labels, whatever their order; 16 hex digits."""
    columns = [column for column in LABEL_COLUMNS if column in battles]
    rows = battles[["battle_id", *columns]].sort_values("battle_id")
    return hashlib.blake2b(rows.to_csv(index=False).encode(), digest_size=8).hexdigest()


def merge_rows(*parts: Iterable[ScoreboardRow]) -> list[ScoreboardRow]:
    """Join lists of rows; a later row replaces an earlier one of the same stage, judge, dataset and orders."""
    merged: dict[tuple[str, str, str, str | None], ScoreboardRow] = {}
    for part in parts:
        for row in part:
            merged[row["stage"], row["judge"], row["dataset"], row["orders"]] = row
    return list(merged.values())


def to_frame(rows: Sequence[ScoreboardRow]) -> pd.DataFrame:
    """The rows as a table, with a column for each key even where there are no rows."""
    return pd.DataFrame(list(rows), columns=list(ScoreboardRow.__annotations__))


def slice_of(row: ScoreboardRow) -> str:
    """Name the part of a dataset that a row is about, ``language=en``; empty for the whole."""
    return row["dataset"].partition("] " if "[" in row["dataset"] else " ")[2]


def _baseline_rows(
    training: pd.DataFrame,
    scored: pd.DataFrame,
    fold: int | None,
    dataset: str,
    truth: pd.DataFrame | None,
    confidence: float,
    seed: int,
    provenance: Provenance,
) -> list[ScoreboardRow]:
    rows = []
    for name, probabilities in score_baselines(training, scored, truth, seed=seed).items():
        template = _template(BASELINE_STAGE, name, fold, provenance, data_fingerprint(scored))
        rows += _rows(scored, probabilities, template, dataset, truth, confidence, lambda _: None)
    return rows


def _battles_of(battles: pd.DataFrame, fold: int | None) -> pd.DataFrame:
    scored = battles if fold is None else battles[battles["fold"] == fold]
    if scored.empty:
        raise ScoreboardError(f"no battle stands in fold {fold}; folds are {sorted(battles['fold'].unique().tolist())}")
    return scored.reset_index(drop=True)


def _template(stage: str, judge: str, fold: int | None, provenance: Provenance, fingerprint: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "judge": judge,
        "flip_rate": None,
        "fold": fold,
        "seen_in_training": False,
        "orders": None,
        "run_id": provenance.run_id,
        "judge_fingerprint": None,
        "data_fingerprint": fingerprint,
        "env": provenance.env,
        "command": provenance.command,
    }


def _rows(
    battles: pd.DataFrame,
    predicted: pd.DataFrame,
    template: dict[str, Any],
    dataset: str,
    truth: pd.DataFrame | None,
    confidence: float,
    flips: Callable[[pd.Series], float | None],
) -> list[ScoreboardRow]:
    """Build the row of all battles and those of the slices; ``predicted`` has a row a battle, by ``battle_id``."""
    columns = [column for column in LABEL_COLUMNS if column in battles]
    name = f"{template['stage']}.{template['judge']}"
    aligned = predicted.set_index("battle_id").reindex(battles["battle_id"])
    if (absent := [column for column in columns if column not in aligned]) or len(columns) < _num_classes(aligned):
        raise ScoreboardError(f"{name}: labels have the classes {columns}, predictions differ (missing: {absent})")
    if (missing := aligned[columns].isna().any(axis=1)).any():
        first = battles.loc[missing.to_numpy(), "pair_id"].iloc[0]
        raise ScoreboardError(
            f"{name}: {int(missing.sum())} of {len(battles)} battles have no prediction, such as pair {first}"
        )
    probabilities, labels = aligned[columns].to_numpy(dtype=float), battles[columns].to_numpy(dtype=float)
    whole = dataset if template["fold"] is None else f"{dataset}[fold {template['fold']}]"
    everything = np.ones(len(battles), dtype=bool)
    slices = [(whole, everything, labels)]
    slices += [(f"{whole} {part}", mask, labels) for part, mask in _column_slices(battles)]
    slices += [(f"{whole} {part}", mask, sound) for part, mask, sound in _flaw_slices(battles, truth, len(columns))]
    return [
        _row(template, part, probabilities[mask], right[mask], confidence, flips(battles.loc[mask, "pair_id"]))
        for part, mask, right in slices
    ]


def _row(
    template: dict[str, Any],
    dataset: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    confidence: float,
    flips: float | None,
) -> ScoreboardRow:
    credits = correctness(probabilities, labels)
    low, high = wilson_interval(float(credits.sum()), len(credits), confidence=confidence)
    measured = {
        "dataset": dataset,
        "num_pairs": len(credits),
        "accuracy": accuracy(probabilities, labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "log_loss": log_loss(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "flip_rate": flips,
    }
    values = template | measured
    return ScoreboardRow(**{key: values[key] for key in ScoreboardRow.__annotations__})  # type: ignore[typeddict-item]


def _column_slices(battles: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Slices by language and by source, the largest first; none where all battles share the value."""
    slices = []
    for column in ("source", "language"):
        sizes = battles[column].value_counts() if column in battles else pd.Series(dtype=int)
        if len(sizes) > 1:
            slices += [
                (f"{column}={value}", (battles[column] == value).to_numpy())
                for value, size in sizes.items()
                if size >= MIN_SLICE_BATTLES
            ]
    return slices


def _flaw_slices(
    battles: pd.DataFrame, truth: pd.DataFrame | None, num_classes: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """A slice a flaw: battles of a sound answer against one with that flaw; right is the sound one, not the vote."""
    if truth is None or truth.empty:
        return []
    flaws = battles[["id"]].merge(truth[["id", "flaw_a", "flaw_b"]], on="id", how="left", validate="many_to_one")
    sound_a, sound_b = (flaws[column] == SOUND for column in ("flaw_a", "flaw_b"))
    labels = np.zeros((len(battles), num_classes))
    labels[:, 0], labels[:, 1] = sound_a & ~sound_b, sound_b & ~sound_a
    other = flaws["flaw_b"].where(sound_a, flaws["flaw_a"])[(sound_a ^ sound_b) & flaws["flaw_a"].notna()]
    return [
        (f"flaw={flaw} vs {SOUND}", np.isin(np.arange(len(battles)), other.index[other == flaw]), labels)
        for flaw, size in other.value_counts().items()
        if size >= MIN_SLICE_BATTLES
    ]


def _num_classes(predicted: pd.DataFrame) -> int:
    return sum(column in predicted for column in LABEL_COLUMNS)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
