"""Weights and threshold of a cascade, given or fitted, and what they would have meant on held-out battles."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS, ORDERS
from wsdm_arena.config import CascadeConfig
from wsdm_arena.metrics import accuracy, log_loss
from wsdm_arena.scoring.cascade import (
    CascadeError,
    CascadeSummary,
    FloatArray,
    Weights,
    decide,
    decisive_threshold,
    differences,
    mix_probabilities,
    resolve_threshold,
    select_uncertain,
)
from wsdm_arena.scoring.ensemble import probabilities_by_row, select_order

logger = logging.getLogger(__name__)

FITTED_SHARES = (0.05, 0.95)
"""Bounds of the first judge's share of the fitted weights: from 1 : 19 to 19 : 1."""


@dataclass(frozen=True)
class FittedCascade:
    """Weights and threshold that suit held-out battles."""

    weights: Weights
    """The second judge's is 1."""
    threshold: float
    share: float
    """Of the pairs that the second judge reads with this threshold."""
    log_loss: float
    """Of the weighted mean of both judges on all battles, in nats; what the weights minimise."""
    accuracy: float
    """Of the cascade's winners, with this threshold."""
    num_battles: int


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
        PredictionsError: A judge read a pair twice in one order.
    """
    names = list(predictions)
    if len(names) not in (1, 2):
        raise CascadeError(f"a cascade has one judge or two, not {len(names)}: {names}")
    weights = {name: config.weights.get(name, 1.0) for name in names}
    plan: dict[str, Any] = {"judges": names, "weights": weights, "threshold": None, "fitted": None}
    if len(names) == 1:
        return plan
    first, second = (predictions[name] for name in names)
    threshold = config.threshold
    if config.fit_share is not None:
        fitted = fit_cascade(first, second, battles, config.fit_share)
        threshold, plan["fitted"] = fitted.threshold, asdict(fitted)
        configured, weights = weights, dict(zip(names, fitted.weights, strict=True))
        if config.weights:
            logger.info(
                "cascade: weights %s, fitted to held-out battles, replace the configured %s", weights, configured
            )
    pair = (weights[names[0]], weights[names[1]])
    level = resolve_threshold(pair, threshold)
    d1, d2 = (differences(rows.to_numpy()) for rows in _read_in_turn(first, second, battles))
    read_twice = np.where(select_uncertain(d1, level), d2, np.nan)
    summary = CascadeSummary.of(
        d1, read_twice, weights=pair, threshold=level, compared_threshold=compare_with_threshold
    )
    return plan | {
        "weights": weights,
        "threshold": level,
        "compare_with_threshold": compare_with_threshold,
        "held_out": asdict(summary),
    }


def fit_cascade(first: pd.DataFrame, second: pd.DataFrame, battles: pd.DataFrame, target_share: float) -> FittedCascade:
    """Fit weights and threshold to held-out battles that both judges read.

    Weights minimise the log loss of the weighted mean probability, which is convex in the first judge's share; that is
    sought within :data:`FITTED_SHARES`. The threshold is the quantile of ``|d1|`` below which the target share of the
    pairs lies, but at most ``w2 / w1``, beyond which reading twice changes nothing. Measured on the battles that it is
    fitted to, so slightly flattering.

    Args:
        first: Predictions of the first judge; those in order "ab" are used.
        second: Predictions of the second judge; those in order "ba" are used.
        battles: ``pair_id`` and the label columns; battles of other pairs are ignored.
        target_share: About this share of the pairs is to be read twice, in (0, 1].

    Raises:
        CascadeError: The judges read different pairs or none of the battles, they tell other classes apart than the
            labels, or the share is out of range.
        PredictionsError: A judge read a pair twice in one order.
    """
    if not 0 < target_share <= 1:
        raise CascadeError(f"target_share={target_share}: must be above 0 and at most 1")
    readings = _read_in_turn(first, second, battles)
    read = battles[battles["pair_id"].isin(readings[0].index)]
    if read.empty:
        raise CascadeError("none of the battles was read by the judges: name the fold that they were held out from")
    labels = read[[column for column in LABEL_COLUMNS if column in read]].to_numpy(dtype=np.float64)
    p1, p2 = (rows.loc[read["pair_id"]].to_numpy() for rows in readings)
    if not p1.shape == p2.shape == labels.shape:
        raise CascadeError(
            f"the judges tell {p1.shape[1]} and {p2.shape[1]} classes apart, the labels {labels.shape[1]}"
        )
    share = _best_share(p1, p2, labels)
    weights = (share / (1 - share), 1.0)
    d1, d2 = differences(p1), differences(p2)
    distances = np.abs(d1[~read["pair_id"].duplicated().to_numpy()])
    threshold = min(_quantile(distances, target_share), decisive_threshold(weights))
    winners = decide(d1, np.where(select_uncertain(d1, threshold), d2, np.nan), weights)
    return FittedCascade(
        weights=weights,
        threshold=threshold,
        share=float(select_uncertain(distances, threshold).mean()),
        log_loss=log_loss(mix_probabilities(p1, p2, weights), labels),
        accuracy=_accuracy_of(winners, labels),
        num_battles=len(read),
    )


def _read_in_turn(
    first: pd.DataFrame, second: pd.DataFrame, battles: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each judge says of the battles' pairs in the order it reads them in; one row a pair, by ``pair_id``."""
    rows = [
        select_order(probabilities_by_row(predictions[predictions["pair_id"].isin(battles["pair_id"])]), order)
        for predictions, order in ((first, ORDERS[0]), (second, ORDERS[1]))
    ]
    if len(differing := rows[0].index.symmetric_difference(rows[1].index)):
        raise CascadeError(
            f"{len(differing)} pairs, such as {min(differing)}, were read by one of the judges only (the first in "
            "order ab, the second in order ba): predict the same held-out fold with both"
        )
    return rows[0], rows[1]


def _best_share(p1: FloatArray, p2: FloatArray, labels: FloatArray) -> float:
    from scipy.optimize import minimize_scalar  # a second to import, which every command would pay

    def loss(share: float) -> float:
        return log_loss(share * p1 + (1 - share) * p2, labels)

    return float(minimize_scalar(loss, bounds=FITTED_SHARES, method="bounded", options={"xatol": 1e-6}).x)


def _quantile(distances: FloatArray, share: float) -> float:
    """The value that about ``share`` of the distances lie below; above 0, so that it is a threshold."""
    return float(np.nextafter(np.quantile(distances, share), np.inf))


def _accuracy_of(winners: npt.NDArray[np.object_], labels: FloatArray) -> float:
    named = np.zeros_like(labels)
    named[np.arange(len(labels)), (winners == "model_b").astype(int)] = 1.0
    return accuracy(named, labels)
