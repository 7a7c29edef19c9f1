"""Judges side by side on the same battles."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.metrics import compare_paired, correctness
from wsdm_arena.scoring.ensemble import average_orders, common_orders, probabilities_by_row
from wsdm_arena.scoring.scoreboard_rows import ScoreboardError, prompt_groups


def compare_judges(
    predictions: Mapping[str, pd.DataFrame],
    battles: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *,
    fold: int,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Test for each pair of judges which one is right more often on the battles of one fold.

    Args:
        predictions: By judge; both orders are averaged.
        battles: As :class:`wsdm_arena.schemas.Battles` describes them.
        pairs: Names of the first and the second judge.
        fold: Battles of this fold are compared on.
        confidence: Of the intervals.

    Returns:
        For each pair ``first``, ``second`` and the fields of :class:`wsdm_arena.metrics.PairedComparison`.

    Raises:
        ScoreboardError: A battle has no prediction of a judge.
        PredictionsError: A prediction occurs twice, or pairs were read in different orders.
    """
    scored = battles[battles["fold"] == fold]
    credits = {name: _credits(name, predictions[name], scored) for name in dict.fromkeys(sum(pairs, start=()))}
    groups = prompt_groups(scored)
    return [
        {"first": first, "second": second}
        | asdict(compare_paired(credits[first], credits[second], groups, confidence=confidence))
        for first, second in pairs
    ]


def _credits(name: str, predictions: pd.DataFrame, battles: pd.DataFrame) -> np.ndarray:
    readings = probabilities_by_row(predictions[predictions["pair_id"].isin(battles["pair_id"])])
    common_orders(readings)  # refuses pairs that were read in different ones
    columns = [column for column in LABEL_COLUMNS if column in battles]
    predicted = average_orders(readings).reindex(battles["pair_id"])[columns]
    if (missing := predicted.isna().any(axis=1)).any():
        raise ScoreboardError(f"{name}: {int(missing.sum())} of {len(battles)} battles have no prediction")
    return correctness(predicted.to_numpy(dtype=float), battles[columns].to_numpy(dtype=float))
