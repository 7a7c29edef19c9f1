"""What two runs have come to: their scores side by side, and the same judge of both on the battles that both read."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.errors import UserError
from wsdm_arena.scoring.comparisons import compare_judges
from wsdm_arena.scoring.scoreboard import ScoreboardRow, slice_of

_METRICS = ("accuracy", "log_loss", "ece")


class RunComparisonError(UserError, ValueError):
    """Predictions of two runs cannot be compared."""


@dataclass(frozen=True)
class ScoreChange:
    """A row of the scoreboard as of two runs."""

    stage: str
    judge: str
    dataset: str
    old: ScoreboardRow | None
    """None where only the new run has such a row."""
    new: ScoreboardRow | None

    @property
    def slice(self) -> str:
        """What part of the dataset the row is about, see :func:`~wsdm_arena.scoring.scoreboard.slice_of`."""
        row = self.new if self.new is not None else self.old
        return "" if row is None else slice_of(row)

    @property
    def is_of_same_battles(self) -> bool:
        """Whether both were scored on the same battles with the same votes; the figures do not compare otherwise."""
        if self.old is None or self.new is None:
            return False
        return self.old["data_fingerprint"] == self.new["data_fingerprint"]

    @property
    def is_change(self) -> bool:
        """Whether there is anything to tell."""
        if self.old is None or self.new is None:
            return True
        keys = ("data_fingerprint", *_METRICS)
        return any(not _equal(self.old.get(key), self.new.get(key)) for key in keys)


def read_rows(path: Path) -> list[ScoreboardRow]:
    """Read what an entry ``<stage>.<judge>.scores`` holds.

    Raises:
        RunComparisonError: It is damaged.
    """
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunComparisonError(f"{path} is damaged: {error}") from None
    return list(rows)


def compare_rows(old: Iterable[ScoreboardRow], new: Iterable[ScoreboardRow]) -> list[ScoreChange]:
    """Put rows of the same stage, judge, dataset and orders side by side, in the order of the new ones."""
    before, now = ({_key(row): row for row in rows} for rows in (old, new))
    return [ScoreChange(*key[:3], before.get(key), now.get(key)) for key in dict.fromkeys([*now, *before])]


def compare_predictions(
    old: pd.DataFrame, new: pd.DataFrame, battles: pd.DataFrame, *, confidence: float = 0.95
) -> dict[str, Any]:
    """Test whether a judge is right more often than it was, on the battles whose pairs both runs have read.

    Args:
        old: Its predictions in the earlier run, see :class:`wsdm_arena.schemas.Predictions`.
        new: Those in the later one.
        battles: As :class:`wsdm_arena.schemas.Battles` describes them.
        confidence: Of the interval.

    Returns:
        Fields of :class:`wsdm_arena.metrics.PairedComparison`, the new run being the first; None for what is no number.

    Raises:
        RunComparisonError: Labels have other classes than the predictions.
        ScoreboardError: A battle has no prediction.
        PredictionsError: A prediction occurs twice, or pairs were read in different orders.
    """
    both = set(old["pair_id"]) & set(new["pair_id"])
    common = battles[battles["pair_id"].isin(both)].assign(fold=0)  # whichever they are in: both have read them
    try:
        (compared,) = compare_judges({"old": old, "new": new}, common, [("new", "old")], fold=0, confidence=confidence)
    except KeyError as error:
        raise RunComparisonError(f"the votes have other classes than the predictions: {error}") from None
    numbers = {key: value for key, value in compared.items() if key not in ("first", "second")}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in numbers.items()}


def _key(row: ScoreboardRow) -> tuple[str, str, str, str | None]:
    return row["stage"], row["judge"], row["dataset"], row["orders"]


def _equal(old: Any, new: Any) -> bool:
    return bool(old == new) or (isinstance(old, float) and isinstance(new, float) and math.isnan(old + new))
