"""Weights and threshold of a cascade, and what they would have meant on held-out battles."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.config import CascadeConfig
from wsdm_arena.scoring.cascade import (
    CascadeError,
    CascadeSummary,
    differences,
    fit_cascade,
    resolve_threshold,
)


def plan_cascade(
    config: CascadeConfig,
    predictions: Mapping[str, pd.DataFrame],
    battles: pd.DataFrame,
    *,
    compare_with_threshold: float,
) -> dict[str, Any]:
    """Take weights and threshold from the configuration, or fit them where it asks for a share of pairs.

    Args:
        config: Of this cascade.
        predictions: Of each judge on held-out battles, in both orders; the first judge's first.
        battles: Held-out battles with their labels.
        compare_with_threshold: Another threshold, whose share of pairs is reported beside.

    Returns:
        What JSON can hold: ``judges``, ``weights`` by judge, ``threshold``, ``fitted`` (None, or how good the fit is)
        and, with two judges, ``held_out``: what the second judge would have read and changed there.

    Raises:
        CascadeError: There is no judge, or one did not read what the other did.
    """
    names = list(predictions)
    if len(names) not in (1, 2):
        raise CascadeError(f"a cascade has one judge or two, not {len(names)}: {names}")
    weights = {name: config.weights.get(name, 1.0) for name in names}
    plan: dict[str, Any] = {"judges": names, "weights": weights, "threshold": None, "fitted": None}
    if len(names) == 1:
        return plan
    first, second = (_of_pairs(predictions[name], battles) for name in names)
    threshold = config.threshold
    if config.fit_share is not None:
        fitted = fit_cascade(first, second, battles, config.fit_share)
        weights = dict(zip(names, fitted.weights, strict=True))
        threshold = fitted.threshold
        plan["fitted"] = asdict(fitted)
    pair = (weights[names[0]], weights[names[1]])
    level = resolve_threshold(pair, threshold)
    d1, d2 = _differences(first, "ab"), _differences(second, "ba")
    if not d1.index.equals(d2.index):
        raise CascadeError(f"{names[0]} and {names[1]} read different pairs of the held-out fold; evaluate both again")
    read_twice = np.where(np.abs(d1) < level, d2, np.nan)
    summary = CascadeSummary.of(
        d1.to_numpy(), read_twice, weights=pair, threshold=level, compared_threshold=compare_with_threshold
    )
    return plan | {
        "weights": weights,
        "threshold": level,
        "compare_with_threshold": compare_with_threshold,
        "held_out": asdict(summary),
    }


def _of_pairs(predictions: pd.DataFrame, battles: pd.DataFrame) -> pd.DataFrame:
    return predictions[predictions["pair_id"].isin(battles["pair_id"])]


def _differences(predictions: pd.DataFrame, order: str) -> pd.Series:
    """``p_a - p_b`` by ``pair_id``, sorted."""
    rows = predictions[predictions["order"] == order].sort_values("pair_id")
    probabilities = np.stack(rows["probabilities"].to_list()) if len(rows) else np.zeros((0, 2))
    return pd.Series(differences(probabilities), index=pd.Index(rows["pair_id"]))
