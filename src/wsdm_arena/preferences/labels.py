"""What a vote says, as probabilities over the classes a judge tells apart."""

from collections.abc import Mapping
from typing import Any, Literal

WinnerLabel = Literal["model_a", "model_b", "tie"]
TiePolicy = Literal["drop", "half", "class"]

ONE_HOT_COLUMNS: dict[str, WinnerLabel] = {
    "winner_model_a": "model_a",
    "winner_model_b": "model_b",
    "winner_tie": "tie",
}
"""Columns that some arenas publish instead of ``winner``."""

_SPELLINGS: dict[str, WinnerLabel] = {
    "model_a": "model_a",
    "a": "model_a",
    "model_b": "model_b",
    "b": "model_b",
    "tie": "tie",
    "tie_(bothbad)": "tie",
    "tie_(both_bad)": "tie",
    "tie_bothbad": "tie",
    "tie_both_bad": "tie",
    "both_bad": "tie",
    "bothbad": "tie",
}

_PROBABILITIES: dict[TiePolicy, dict[WinnerLabel, tuple[float, ...]]] = {
    "drop": {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0)},
    "half": {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0), "tie": (0.5, 0.5)},
    "class": {"model_a": (1.0, 0.0, 0.0), "model_b": (0.0, 1.0, 0.0), "tie": (0.0, 0.0, 1.0)},
}


def parse_winner(value: Any) -> WinnerLabel | None:
    """Read one cell of the column ``winner``; None where it names no winner.

    Case, spaces and underscores make no difference; ``both bad`` is a tie.

    Example:
        >>> parse_winner("Model_A"), parse_winner("tie (bothbad)"), parse_winner("C")
        ('model_a', 'tie', None)
    """
    if not isinstance(value, str):
        return None
    return _SPELLINGS.get("_".join(value.replace("_", " ").lower().split()))


def parse_one_hot_winner(row: Mapping[str, Any]) -> WinnerLabel | None:
    """Read ``winner_model_a``, ``winner_model_b`` and ``winner_tie``; None unless exactly one of them is set."""
    chosen = [label for column, label in ONE_HOT_COLUMNS.items() if _is_set(row.get(column))]
    return chosen[0] if len(chosen) == 1 else None


def label_columns(tie_policy: TiePolicy) -> tuple[str, ...]:
    """Name the probability columns, in the order of a judge's classes."""
    columns = ("probability_a", "probability_b")
    return (*columns, "probability_tie") if tie_policy == "class" else columns


def label_probabilities(label: WinnerLabel, tie_policy: TiePolicy) -> tuple[float, ...] | None:
    """Turn a winner into one probability per class, in the order of :func:`label_columns`.

    Returns:
        Values that sum to 1; None for a tie that ``tie_policy: drop`` leaves out.
    """
    return _PROBABILITIES[tie_policy].get(label)


def _is_set(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("1", "1.0", "true")
    return value is not None and value == 1  # numbers of any type and booleans; NaN equals nothing
