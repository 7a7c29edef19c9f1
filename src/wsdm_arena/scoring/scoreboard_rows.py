"""What a row of the scoreboard says, and how it is measured: a row for all battles, one for each slice."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.config import ReportingConfig
from wsdm_arena.errors import UserError
from wsdm_arena.metrics import (
    accuracy,
    bootstrap_interval,
    brier_score,
    correctness,
    expected_calibration_error,
    log_loss,
)
from wsdm_arena.preferences.pair_ids import prompt_group
from wsdm_arena.scoring.slices import find_slices

STARTS = ("start", "zero_shot")
"""What follows a stage's name, behind a dot, in rows about what its training set out from.

``zero_shot`` is the language model as it was, asked for its verdict; ``start`` is anything else: a head of random
weights, or a judge of an earlier stage.
"""
_WHOLE = re.compile(r"[^\s\[]*(\[[^\]]*\])? ?")
"""``battles[fold 0]`` or ``test_pairs``; what follows is a slice, whose value may hold blanks and brackets."""


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
    brier: float
    ece: float
    flip_rate: float | None
    swap_gap: float | None
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


@dataclass(frozen=True)
class Measurement:
    """How rows are measured: what nodes take from the configuration.

    Attributes:
        truth: ``id``, ``flaw_a``, ``flaw_b`` of simulated battles, for a row a flaw; None or empty elsewhere.
        confidence: Of the intervals.
        num_bootstrap_samples: How often prompts are drawn anew for an interval.
        seed: Of these draws.
        provenance: Which run this is.
    """

    truth: pd.DataFrame | None = None
    confidence: float = 0.95
    num_bootstrap_samples: int = 1_000
    seed: int = 0
    provenance: Provenance = field(default_factory=Provenance)

    @classmethod
    def of(
        cls, reporting: ReportingConfig, *, truth: pd.DataFrame | None, seed: int, run_context: Mapping[str, Any]
    ) -> "Measurement":
        """As the configuration has it."""
        return cls(truth, reporting.confidence, reporting.bootstrap_samples, seed, Provenance(**run_context))


def describe_scored(stage: str, judge: str, fold: int | None, scored: pd.DataFrame, how: Measurement) -> dict[str, Any]:
    """What all rows of a judge on some battles have in common."""
    return {
        "stage": stage,
        "judge": judge,
        "fold": fold,
        "seen_in_training": False,
        "orders": None,
        "run_id": how.provenance.run_id,
        "judge_fingerprint": None,
        "data_fingerprint": data_fingerprint(scored),
        "env": how.provenance.env,
        "command": how.provenance.command,
    }


def measure_rows(
    battles: pd.DataFrame,
    predicted: pd.DataFrame,
    common: dict[str, Any],
    dataset: str,
    how: Measurement,
    *,
    both_ways: pd.DataFrame | None = None,
    truncated: pd.Series | None = None,
) -> list[ScoreboardRow]:
    """Measure a row for all battles, and one for each slice that is large enough.

    Args:
        battles: What is scored, with labels.
        predicted: A row a battle, by ``battle_id``: one probability a class.
        common: As :func:`describe_scored` gives it, and what else the rows have in common.
        dataset: Name of the table of battles.
        how: Intervals, truth, provenance.
        both_ways: As :func:`wsdm_arena.metrics.read_both_ways` gives it, of a judge that read both orders.
        truncated: By ``pair_id``, whether the judge saw less than the whole texts.

    Raises:
        ScoreboardError: A battle has no prediction, or its classes are others.
    """
    columns = [column for column in LABEL_COLUMNS if column in battles]
    aligned = _align(battles, predicted, columns, f"{common['stage']}.{common['judge']}")
    probabilities, labels = aligned.to_numpy(dtype=float), battles[columns].to_numpy(dtype=float)
    groups = prompt_groups(battles)
    whole = dataset if common["fold"] is None else f"{dataset}[fold {common['fold']}]"
    rows = []
    for part in find_slices(battles, truth=how.truth, truncated=truncated, num_classes=len(columns)):
        mask, right = part.mask, labels if part.labels is None else part.labels
        measured = _measure(probabilities[mask], right[mask], groups[mask], how)
        measured |= _measure_swap(both_ways, battles.loc[mask, "pair_id"])
        values: dict[str, Any] = common | measured | {"dataset": f"{whole} {part.name}".strip()}
        rows.append(ScoreboardRow(**{key: values[key] for key in ScoreboardRow.__annotations__}))  # type: ignore[typeddict-item]
    return rows


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
    return _WHOLE.sub("", row["dataset"], count=1)


def without_start(stage: str) -> str:
    """The stage whose start a row is about; any other stage itself."""
    trained, _, kind = stage.rpartition(".")
    return trained if trained and kind in STARTS else stage


def _align(battles: pd.DataFrame, predicted: pd.DataFrame, columns: list[str], name: str) -> pd.DataFrame:
    """The predictions of each battle, in the battles' order."""
    aligned = predicted.set_index("battle_id").reindex(battles["battle_id"])
    num_classes = sum(column in aligned for column in LABEL_COLUMNS)
    if (absent := [column for column in columns if column not in aligned]) or len(columns) < num_classes:
        raise ScoreboardError(f"{name}: labels have the classes {columns}, predictions differ (missing: {absent})")
    if (missing := aligned[columns].isna().any(axis=1)).any():
        first = battles.loc[missing.to_numpy(), "pair_id"].iloc[0]
        raise ScoreboardError(
            f"{name}: {int(missing.sum())} of {len(battles)} battles have no prediction, such as pair {first}"
        )
    return aligned[columns]


def prompt_groups(battles: pd.DataFrame) -> np.ndarray:
    """Which battles have a prompt in common; test pairs do not say it themselves."""
    if "prompt_group" in battles:
        return battles["prompt_group"].to_numpy()
    if "prompt" in battles:
        prompts = battles["prompt"].astype(object).where(battles["prompt"].notna(), None)
        return np.array([prompt_group(prompt) for prompt in prompts], dtype=object)
    return battles["pair_id"].to_numpy()


def _measure(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, how: Measurement) -> dict[str, Any]:
    credits = correctness(probabilities, labels)
    low, high = bootstrap_interval(
        credits, groups, confidence=how.confidence, num_samples=how.num_bootstrap_samples, seed=how.seed
    )
    return {
        "num_pairs": len(credits),
        "accuracy": accuracy(probabilities, labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "log_loss": log_loss(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
    }


def _measure_swap(both_ways: pd.DataFrame | None, pair_ids: pd.Series) -> dict[str, float | None]:
    """Over the pairs, each once, that were read in both orders."""
    if both_ways is None:
        return {"flip_rate": None, "swap_gap": None}
    means = both_ways[both_ways.index.isin(pair_ids)].mean()
    return {"flip_rate": _or_none(means["flips"]), "swap_gap": _or_none(means["gap"])}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
