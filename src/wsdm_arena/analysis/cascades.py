"""What a second judge buys: accuracy against the share of pairs that it reads, and against seconds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.analysis.judges import Sampling
from wsdm_arena.analysis.tables import CascadeAnalysis, FrontierPoint, Interval
from wsdm_arena.columns import LABEL_COLUMNS, ORDERS
from wsdm_arena.metrics import correctness
from wsdm_arena.scoring.cascade import CascadeError, Weights, decide, differences, select_uncertain
from wsdm_arena.scoring.ensemble import probabilities_by_row, select_order

NUM_SHARES = 21
"""From no pair to all of them, in steps of 5 %."""


def analyse_cascade(
    plan: Mapping[str, Any],
    predictions: Mapping[str, pd.DataFrame],
    battles: pd.DataFrame,
    report: Mapping[str, Any] | None,
    *,
    stage: str,
    num_test_pairs: int,
    read_by: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    num_bootstrap_samples: int = 1_000,
    seed: int = 0,
) -> CascadeAnalysis:
    """Replay a cascade on held-out battles with every threshold.

    The first judge's readings in order "ab" and the second's in order "ba" are decided by the rules of
    :mod:`wsdm_arena.scoring.cascade`, the most uncertain pairs first, as a submission does it.

    Args:
        plan: As :func:`wsdm_arena.scoring.cascade_plan.plan_cascade` gives it.
        predictions: Held-out predictions by judge, the first judge's first.
        battles: Held-out battles with their labels.
        report: ``CascadeReport.to_dict()`` of the submission, for seconds; None: they are not known.
        stage: Whose cascade it is.
        read_by: Whose predictions those of each judge are, such as ``final_held_out.gemma``; None: the judges' own.
        num_test_pairs: Pairs that seconds are foretold for.
        confidence: Of the intervals.
        num_bootstrap_samples: How often prompts are drawn anew.
        seed: Of these draws.

    Raises:
        CascadeError: A judge did not read a battle in the order that the cascade asks of it.
        PredictionsError: A judge read a pair twice in one order.
    """
    names = list(predictions)
    votes = _without_ties(battles)
    first = _leads(predictions[names[0]], ORDERS[0], votes, names[0])
    two = len(names) == 2
    second = _leads(predictions[names[1]], ORDERS[1], votes, names[1]) if two else np.full(len(votes), np.nan)
    weights: Weights = (float(plan["weights"][names[0]]), float(plan["weights"][names[1]]) if two else 0.0)
    labels = votes[list(LABEL_COLUMNS[:2])].to_numpy(dtype=np.float64)
    sampling = Sampling(confidence, num_bootstrap_samples, seed)
    timing = _seconds_a_pair(report)
    known: dict[bytes, Interval] = {}  # beyond the decisive threshold all points are right about the same battles

    def point(threshold: float, wanted: np.ndarray) -> FrontierPoint:
        winners = decide(first, np.where(wanted, second, np.nan), weights)
        named = np.zeros_like(labels)
        named[np.arange(len(votes)), (winners == "model_b").astype(int)] = 1.0
        pairs = pd.DataFrame({"pair_id": votes["pair_id"], "wanted": wanted}).drop_duplicates("pair_id")
        share = float(pairs["wanted"].mean())
        credits = correctness(named, labels)
        if (key := credits.tobytes()) not in known:
            known[key] = sampling.interval(credits, votes["prompt_group"].to_numpy())
        return FrontierPoint(
            threshold=threshold,
            share=share,
            accuracy=known[key],
            seconds=_foretell(timing, share, num_test_pairs),
        )

    threshold = plan["threshold"] if two else None
    thresholds = _thresholds(first) if two else [0.0]
    return CascadeAnalysis(
        stage=stage,
        judges=names,
        read_by=dict(read_by or {name: f"{stage}.{name}" for name in names}),
        is_fitted=plan["fitted"] is not None,
        weights={name: float(weight) for name, weight in zip(names, weights, strict=False)},
        threshold=threshold,
        num_battles=len(votes),
        num_test_pairs=num_test_pairs,
        points=[point(level, select_uncertain(first, level)) for level in thresholds],
        in_use=None if threshold is None else point(threshold, select_uncertain(first, threshold)),
    )


def _without_ties(battles: pd.DataFrame) -> pd.DataFrame:
    """Votes for A or B, which are all that a cascade can foretell."""
    if "probability_tie" not in battles:
        return battles.reset_index(drop=True)
    return battles[battles["probability_tie"] < 1].reset_index(drop=True)


def _leads(predictions: pd.DataFrame, order: str, votes: pd.DataFrame, name: str) -> np.ndarray:
    """``p_a - p_b`` of each vote's pair in one order."""
    read = probabilities_by_row(predictions[predictions["pair_id"].isin(votes["pair_id"])])
    rows = select_order(read, order).reindex(votes["pair_id"])
    if (missing := rows.isna().any(axis=1)).any():
        raise CascadeError(
            f"{name} did not read {int(missing.sum())} of {len(votes)} held-out battles in order {order}"
        )
    return differences(rows.to_numpy())


def _thresholds(first: np.ndarray) -> list[float]:
    """One for each share of votes; from 0, which takes none, to just above the largest lead, which takes all."""
    distances = np.abs(first)
    shares = np.linspace(0, 1, NUM_SHARES)[1:]
    found = np.nextafter(np.quantile(distances, shares), np.inf)
    return [0.0, *dict.fromkeys(float(level) for level in found)]


def _seconds_a_pair(report: Mapping[str, Any] | None) -> list[tuple[float, float]]:
    """Seconds of loading and of reading a pair, by judge; empty where not every judge was timed."""
    if report is None:
        return []
    work = [dict(judge) if isinstance(judge, Mapping) else vars(judge) for judge in report["judges"]]
    if any(not judge["num_pairs"] for judge in work):
        return []
    return [(judge["seconds_loading"], judge["seconds_reading"] / judge["num_pairs"]) for judge in work]


def _foretell(timing: list[tuple[float, float]], share: float, num_pairs: int) -> float | None:
    """Both judges load unless the second has nothing to read; pairs are taken to be of the measured mean length."""
    if not timing:
        return None
    (load, read), *others = timing
    seconds = load + read * num_pairs
    for load, read in others:
        seconds += (load + read * num_pairs * share) if share else 0.0
    return float(seconds)
