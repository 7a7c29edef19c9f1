"""What became of each raw row: none is lost in silence, and none alone stops a run."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.preferences.raw_tables import FILE_COLUMN, ROW_COLUMN

logger = logging.getLogger(__name__)

MAX_LISTED_ROWS = 10_000
"""Rows that a report lists one by one; all are counted."""


class RowReport:
    """Counts and lists rows that were dropped or repaired, by their file and their number in it.

    Args:
        raw: The raw frame; masks given to the methods have its length and order.
    """

    def __init__(self, raw: pd.DataFrame) -> None:
        num_rows = len(raw)
        self._files = list(raw[FILE_COLUMN]) if FILE_COLUMN in raw else ["table"] * num_rows
        self._rows = list(raw[ROW_COLUMN]) if ROW_COLUMN in raw else list(range(1, num_rows + 1))
        self._ids = list(raw["id"]) if "id" in raw else [None] * num_rows
        self._counts: dict[str, Counter[str]] = {"dropped": Counter(), "repaired": Counter(), "left_out": Counter()}
        self._listed: list[dict[str, Any]] = []
        self._num_unlisted = 0

    def drop(self, mask: np.ndarray, reason: str, details: Sequence[str] | None = None) -> None:
        """Record bad rows that do not become battles.

        Args:
            mask: Booleans, ``(num_rows,)``.
            reason: Why, the same words for all of them.
            details: What is particular to each row, ``(num_rows,)``.
        """
        self._record("dropped", mask, reason, details)

    def repair(self, mask: np.ndarray, reason: str) -> None:
        """Record rows that are kept with a cell changed."""
        self._record("repaired", mask, reason, None)

    def leave_out(self, mask: np.ndarray, reason: str) -> None:
        """Count rows that are left out though nothing is wrong with them; they are not listed."""
        if mask.any():
            self._counts["left_out"][reason] += int(mask.sum())

    def describe(self, mask: np.ndarray, limit: int = 5) -> str:
        """Name the first rows of a mask, for messages: file, row and id."""
        positions = np.flatnonzero(mask)
        rows = "; ".join(self._describe_row(position) for position in positions[:limit])
        return rows + (f"; and {len(positions) - limit} more" if len(positions) > limit else "")

    def to_dict(self) -> dict[str, Any]:
        """Everything recorded, as JSON can hold it."""
        return {
            "num_rows": len(self._rows),
            "rows_by_file": {str(file): count for file, count in Counter(self._files).items()},
            **{outcome: dict(counts.most_common()) for outcome, counts in self._counts.items()},
            "rows": self._listed,
            "rows_not_listed": self._num_unlisted,
        }

    def log_summary(self, what: str, num_kept: int) -> None:
        """Say in the log how many rows were kept, and why the others were not."""
        logger.info("%s: %d of %d rows", what, num_kept, len(self._rows))
        for outcome, counts in self._counts.items():
            for reason, count in counts.most_common():
                logger.info("  %s, %s: %d", outcome.replace("_", " "), reason, count)

    def _record(self, outcome: str, mask: np.ndarray, reason: str, details: Sequence[str] | None) -> None:
        positions = np.flatnonzero(mask).tolist()
        if len(positions) == 0:
            return
        self._counts[outcome][reason] += len(positions)
        for position in positions:
            if len(self._listed) == MAX_LISTED_ROWS:
                self._num_unlisted += 1
                continue
            entry = {
                "file": str(self._files[position]),
                "row": int(self._rows[position]),
                "id": _printable(self._ids[position]),
                "outcome": outcome,
                "reason": reason,
            }
            self._listed.append(entry | ({"detail": details[position]} if details is not None else {}))

    def _describe_row(self, position: int) -> str:
        identity = _printable(self._ids[position])
        return f"{self._files[position]} row {self._rows[position]}" + (f" (id {identity})" if identity else "")


def _printable(value: Any) -> str | None:
    """Shorten an id to what a message or a JSON file can hold."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return str(value)[:80].encode("utf-8", errors="replace").decode("utf-8")
