"""What held-out predictions say of one judge beyond its accuracy.

Shapes: V votes (battles), C classes. A pair that was voted on twice counts twice, but in the swap audit, which is about
readings and not about votes.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wsdm_arena.analysis.abstention import analyse_abstention
from wsdm_arena.analysis.tables import (
    CalibrationAnalysis,
    CalibrationScores,
    HistogramBin,
    Interval,
    JudgeAnalysis,
    LengthAnalysis,
    LengthBin,
    ReliabilityBin,
    SwapAnalysis,
)
from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.metrics import (
    NUM_CALIBRATION_BINS,
    bootstrap_interval,
    brier_score,
    confidence_bins,
    correctness,
    expected_calibration_error,
    log_loss,
    read_both_ways,
)
from wsdm_arena.scoring.calibration import apply_temperature, fit_temperature
from wsdm_arena.scoring.ensemble import average_orders, probabilities_by_row, values_by_row
from wsdm_arena.scoring.predictor import canonical_probabilities
from wsdm_arena.scoring.scoreboard import ScoreboardError
from wsdm_arena.scoring.slices import ALIKE, TWICE

MIN_HALF = 10
"""Prompts that a temperature is fitted on, or judged on, at least."""
_NUM_GAPS = 20
_NUM_HONEST_DRAWS = 100
_RATIO_LABELS = ("B twice as long or more", "B longer", "about as long", "A longer", "A twice as long or more")


@dataclass(frozen=True)
class Sampling:
    """How intervals are found; see :func:`wsdm_arena.metrics.bootstrap_interval`."""

    confidence: float = 0.95
    num_samples: int = 1_000
    seed: int = 0

    def interval(self, values: np.ndarray, groups: np.ndarray) -> Interval:
        """The mean of values, and how far it moves if prompts are drawn anew; 0, from 0 to 1, without any."""
        low, high = bootstrap_interval(
            values, groups, confidence=self.confidence, num_samples=self.num_samples, seed=self.seed
        )
        mean = float(np.mean(values)) if len(values) else 0.0
        return Interval(value=mean, low=low, high=high, num_battles=len(values))


def analyse_judge(
    predictions: pd.DataFrame,
    battles: pd.DataFrame,
    *,
    stage: str,
    judge: str,
    fold: int,
    seen_in_training: bool = False,
    confidence: float = 0.95,
    num_bootstrap_samples: int = 1_000,
    seed: int = 0,
) -> JudgeAnalysis:
    """Measure calibration, swap consistency, length bias and abstention on one fold.

    Args:
        predictions: As :class:`wsdm_arena.schemas.Predictions` describes them; pairs of other folds are ignored.
        battles: As :class:`wsdm_arena.schemas.Battles` describes them.
        stage: Of the judge.
        judge: Its name.
        fold: Battles of this fold are looked at.
        seen_in_training: Whether the judge learned from them.
        confidence: Of the intervals.
        num_bootstrap_samples: How often prompts are drawn anew.
        seed: Of these draws, and of the two halves of the calibration.

    Raises:
        ScoreboardError: No battle stands in the fold, or one has no prediction.
        PredictionsError: A prediction occurs twice.
    """
    votes = battles[battles["fold"] == fold].reset_index(drop=True)
    if votes.empty:
        raise ScoreboardError(f"{stage}.{judge}: no battle stands in fold {fold}")
    read = predictions[predictions["pair_id"].isin(votes["pair_id"])]
    averaged = average_orders(probabilities_by_row(read)).reindex(votes["pair_id"])
    if (missing := averaged.isna().any(axis=1)).any():
        raise ScoreboardError(f"{stage}.{judge}: {int(missing.sum())} of {len(votes)} battles have no prediction")
    sampling = Sampling(confidence, num_bootstrap_samples, seed)
    probabilities, labels = averaged.to_numpy(), _labels(votes)
    return JudgeAnalysis(
        stage=stage,
        judge=judge,
        fold=fold,
        seen_in_training=seen_in_training,
        num_battles=len(votes),
        calibration=_analyse_calibration(read, votes, probabilities, sampling),
        swap=_analyse_swap(read, votes, sampling),
        length=_analyse_length(votes, probabilities, sampling),
        abstention=analyse_abstention(probabilities, labels),
    )


def _analyse_calibration(
    read: pd.DataFrame, votes: pd.DataFrame, probabilities: np.ndarray, sampling: Sampling
) -> CalibrationAnalysis:
    """Fit the temperature on half of the prompts, judge it on the others; one prompt alone serves for both."""
    is_fitted = _first_half(votes["prompt_group"], sampling.seed)
    fitted, judged = votes[is_fitted], votes[~is_fitted].reset_index(drop=True)
    note = ""
    if min(half["prompt_group"].nunique() for half in (fitted, judged)) < MIN_HALF:
        fitted = judged = votes
        note = f"{votes['prompt_group'].nunique()} prompts are too few to judge it on others than it was fitted on"
    fit = fit_temperature(read[read["pair_id"].isin(fitted["pair_id"])], fitted)
    on_judged = read[read["pair_id"].isin(judged["pair_id"])]
    before, after = (_at_temperature(on_judged, judged, temperature) for temperature in (1.0, fit.temperature))
    labels = _labels(judged)
    return CalibrationAnalysis(
        temperature=fit.temperature,
        num_fitted=len(fitted),
        num_judged=len(judged),
        before=_scores(before, labels, sampling.seed),
        after=_scores(after, labels, sampling.seed),
        bins_before=_reliability(probabilities, votes, sampling),
        bins_after=_reliability(after, judged, sampling),
        note="; ".join(part for part in (note, fit.note) if part),
    )


def _first_half(prompt_groups: pd.Series, seed: int) -> np.ndarray:
    """About half of the prompts, drawn by a hash, so that other prompts do not change where one falls."""
    digests = {
        group: hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=1).digest()[0]
        for group in prompt_groups.unique()
    }
    return (prompt_groups.map(digests) < 128).to_numpy()


def _at_temperature(read: pd.DataFrame, votes: pd.DataFrame, temperature: float) -> np.ndarray:
    """Averaged probabilities of each vote's pair, ``(V, C)``."""
    logits = values_by_row(read, "logits")
    each = canonical_probabilities(
        apply_temperature(logits.to_numpy(), temperature), logits.index.get_level_values("order") == "ba"
    )
    return average_orders(pd.DataFrame(each, index=logits.index)).loc[votes["pair_id"]].to_numpy()


def _scores(probabilities: np.ndarray, labels: np.ndarray, seed: int) -> CalibrationScores:
    return CalibrationScores(
        log_loss=log_loss(probabilities, labels),
        brier=brier_score(probabilities, labels),
        ece=expected_calibration_error(probabilities, labels),
        ece_by_chance=_ece_by_chance(probabilities.max(axis=1), seed),
    )


def _ece_by_chance(confidences: np.ndarray, seed: int) -> float:
    """Draw what an honest judge is right about, and measure that."""
    confidences = np.sort(confidences)  # draws do not depend on the order of rows
    generator, bins = np.random.default_rng(seed), confidence_bins(confidences)
    found = []
    for _ in range(_NUM_HONEST_DRAWS):
        credits = generator.random(len(confidences)) < confidences
        gaps = np.bincount(bins, weights=credits - confidences)
        found.append(np.abs(gaps).sum() / len(confidences))
    return float(np.mean(found))


def _reliability(probabilities: np.ndarray, votes: pd.DataFrame, sampling: Sampling) -> list[ReliabilityBin]:
    """Bins that hold any battle."""
    confidences, credits = probabilities.max(axis=1), correctness(probabilities, _labels(votes))
    numbers, groups = confidence_bins(confidences), votes["prompt_group"].to_numpy()
    return [
        ReliabilityBin(
            confidence_low=number / NUM_CALIBRATION_BINS,
            confidence_high=(number + 1) / NUM_CALIBRATION_BINS,
            num_battles=int((numbers == number).sum()),
            mean_confidence=float(confidences[numbers == number].mean()),
            accuracy=sampling.interval(credits[numbers == number], groups[numbers == number]),
        )
        for number in np.unique(numbers).tolist()
    ]


def _analyse_swap(read: pd.DataFrame, votes: pd.DataFrame, sampling: Sampling) -> SwapAnalysis | None:
    both = read_both_ways(read)
    if both.empty:
        return None
    groups = votes.drop_duplicates("pair_id").set_index("pair_id")["prompt_group"].loc[both.index].to_numpy()
    counts, edges = np.histogram(both["gap"], bins=_NUM_GAPS, range=(0.0, 1.0))
    return SwapAnalysis(
        num_pairs=len(both),
        flip_rate=sampling.interval(both["flips"].to_numpy(), groups),
        gap=sampling.interval(both["gap"].to_numpy(), groups),
        first_shown=sampling.interval(both["first_shown"].to_numpy(), groups),
        gaps=[
            HistogramBin(low=float(low), high=float(high), num_pairs=int(count))
            for low, high, count in zip(edges, edges[1:], counts, strict=False)
        ],
    )


def _analyse_length(votes: pd.DataFrame, probabilities: np.ndarray, sampling: Sampling) -> LengthAnalysis:
    labels, groups = _labels(votes), votes["prompt_group"].to_numpy()
    lengths = [votes[column].str.len().fillna(0).to_numpy(dtype=float) for column in ("response_a", "response_b")]
    is_a_longer = lengths[0] > lengths[1]
    differ = lengths[0] != lengths[1]
    longer = np.zeros_like(labels)
    longer[np.arange(len(votes)), np.where(is_a_longer, 0, 1)] = 1.0
    named, won = correctness(probabilities, longer), correctness(longer, labels)
    credits = correctness(probabilities, labels)
    is_won, is_named = (differ & _is_decided(distributions) for distributions in (labels, probabilities))
    longer_won = np.where(is_a_longer, labels[:, 0] > labels[:, 1], labels[:, 1] > labels[:, 0])
    numbers = _length_numbers(*lengths)
    return LengthAnalysis(
        names_longer=sampling.interval(named[is_named], groups[is_named]),
        longer_won=sampling.interval(won[is_won], groups[is_won]),
        accuracy_longer_won=sampling.interval(credits[is_won & longer_won], groups[is_won & longer_won]),
        accuracy_shorter_won=sampling.interval(credits[is_won & ~longer_won], groups[is_won & ~longer_won]),
        bins=[
            LengthBin(
                label=_RATIO_LABELS[number],
                num_battles=int((numbers == number).sum()),
                vote=sampling.interval(_share_of_a(labels)[numbers == number], groups[numbers == number]),
                judge=sampling.interval(_share_of_a(probabilities)[numbers == number], groups[numbers == number]),
            )
            for number in np.unique(numbers).tolist()
        ],
    )


def _length_numbers(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of the labels describes each battle, alike on both sides; an empty answer counts as one character."""
    a, b = np.maximum(first, 1), np.maximum(second, 1)
    level = np.digitize(np.maximum(a, b) / np.minimum(a, b), (ALIKE, TWICE))
    return np.where(a > b, 2 + level, 2 - level)


def _is_decided(distributions: np.ndarray) -> np.ndarray:
    """Whether A or B is likelier than the other and no less likely than a tie."""
    first_two = distributions[:, :2]
    decided = first_two.max(axis=1) > first_two.min(axis=1)
    return decided & (first_two.max(axis=1) >= distributions.max(axis=1))


def _share_of_a(distributions: np.ndarray) -> np.ndarray:
    """How often A is preferred; a tie counts half."""
    ties = distributions[:, 2] / 2 if distributions.shape[1] == 3 else 0.0
    return distributions[:, 0] + ties


def _labels(votes: pd.DataFrame) -> np.ndarray:
    return votes[[column for column in LABEL_COLUMNS if column in votes]].to_numpy(dtype=np.float64)
