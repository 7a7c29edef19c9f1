"""How good probabilities are, against hard or soft labels, and how sure one can be of it.

Shapes: N battles, C classes (a wins, b wins and, with three, a tie); rows of probabilities and labels sum to 1.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

_EPSILON = 1e-7  # float32 cannot tell smaller probabilities from 0 and 1 at both ends
_TIE_TOLERANCE = 1e-12
NUM_CALIBRATION_BINS = 15
MIN_BOOTSTRAP_GROUPS = 20
"""Of fewer, percentiles of 95 % cover the true mean in 90 % of cases or less: half of them with two groups."""
_BOOTSTRAP_NUMBERS = 1 << 17
"""Values that are drawn at once: 1 MiB for each array, which caches hold; a quarter faster than 16 MiB."""


def correctness(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Credit each prediction: 1 for naming the label's likeliest class, 0 for another.

    Where several classes share the first place, in the label or in the prediction, one of them is as good as drawn by
    lot: a half-half label, or a half-half prediction, gives one half.

    Args:
        probabilities: ``(N, C)``.
        labels: ``(N, C)``.

    Returns:
        Credits between 0 and 1, ``(N,)``.

    Example:
        >>> correctness(np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]]), np.array([[1, 0], [0.5, 0.5], [1, 0]])).tolist()
        [1.0, 0.5, 0.5]
    """
    _check(probabilities, labels)
    predicted = probabilities >= probabilities.max(axis=1, keepdims=True) - _TIE_TOLERANCE
    right = labels >= labels.max(axis=1, keepdims=True) - _TIE_TOLERANCE
    return (predicted & right).sum(axis=1) / (predicted.sum(axis=1) * right.sum(axis=1))


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of :func:`correctness`; NaN without rows."""
    return float(np.mean(correctness(probabilities, labels))) if len(probabilities) else float("nan")


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats, against hard or soft labels; NaN without rows.

    Probabilities are kept ``1e-7`` away from 0, so that one sure and wrong prediction costs 16.1 and not infinity.
    """
    _check(probabilities, labels)
    if not len(probabilities):
        return float("nan")
    return float(-(labels * np.log(np.clip(probabilities, _EPSILON, 1.0))).sum(axis=1).mean())


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows of the squared distances from the label, summed over classes: 0 to 2; NaN without rows.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability". With two classes it is twice
    scikit-learn's ``brier_score_loss``, which takes hard labels only.
    """
    _check(probabilities, labels)
    if not len(probabilities):
        return float("nan")
    return float(((probabilities - labels) ** 2).sum(axis=1).mean())


def confidence_bins(confidences: np.ndarray, *, num_bins: int = NUM_CALIBRATION_BINS) -> np.ndarray:
    """Number of the bin that each confidence falls into, of equal width: ``(0, 1/n], (1/n, 2/n], ...``; ``(N,)``."""
    return np.clip(np.ceil(confidences * num_bins).astype(int) - 1, 0, num_bins - 1)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, num_bins: int = NUM_CALIBRATION_BINS
) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their sizes.

    Confidence is the probability of the predicted class. NaN without rows.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2; 15 bins as there.
    """
    if not len(probabilities):
        return float("nan")
    credits = correctness(probabilities, labels)
    confidences = probabilities.max(axis=1)
    bins = confidence_bins(confidences, num_bins=num_bins)
    gaps = np.bincount(bins, weights=credits - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(probabilities))


def read_both_ways(predictions: pd.DataFrame) -> pd.DataFrame:
    """How each pair that was read in both orders was judged in either.

    Args:
        predictions: With ``pair_id``, ``order`` (``ab`` or ``ba``) and ``probabilities`` in canonical order; each pair
            at most once in each order.

    Returns:
        By ``pair_id``: ``flips`` (whether the winner depends on which answer is shown first), ``gap`` (how far the
        probability of A moves when the answers change places; with two classes that is ``|p(AB) + p(BA) - 1|``, p being
        the probability of the answer that is shown first) and ``first_shown`` (in which share of both readings the
        answer that is shown first is named; a tie counts half).

    Raises:
        ValueError: A pair occurs twice in one order.
    """
    keyed = predictions[["pair_id", "order", "probabilities"]]
    if keyed.duplicated(["pair_id", "order"]).any():
        raise ValueError("predictions: a pair occurs twice in one order; each (pair_id, order) must be there once")
    first = keyed[keyed["order"] == "ab"].set_index("pair_id")["probabilities"]
    second = keyed[keyed["order"] == "ba"].set_index("pair_id")["probabilities"]
    both = first.index.intersection(second.index)
    if both.empty:
        return pd.DataFrame({"flips": [], "gap": [], "first_shown": []}, dtype=float)
    ab, ba = (np.array(readings.loc[both].to_list(), dtype=np.float64) for readings in (first, second))
    winners = ab.argmax(axis=1), ba.argmax(axis=1)
    return pd.DataFrame(
        {
            "flips": (winners[0] != winners[1]).astype(float),
            "gap": np.abs(ab[:, 0] - ba[:, 0]),
            "first_shown": (_share_named(winners[0], 0) + _share_named(winners[1], 1)) / 2,
        },
        index=both,
    )


def flip_rate(predictions: pd.DataFrame) -> float:
    """Share of pairs whose predicted winner depends on which answer is shown first; see :func:`read_both_ways`.

    Returns:
        Over the pairs read in both orders; NaN where there are none.
    """
    return float(read_both_ways(predictions)["flips"].mean())


def swap_gap(predictions: pd.DataFrame) -> float:
    """How far the probability of A moves on average when the answers change places; see :func:`read_both_ways`.

    Returns:
        Over the pairs read in both orders; NaN where there are none.
    """
    return float(read_both_ways(predictions)["gap"].mean())


def wilson_interval(successes: float, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion. Half credits may make ``successes`` fractional.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference"; equal to scipy's
    ``binomtest(...).proportion_ci(method="wilson")``, which takes whole successes only.

    Returns:
        Lower and upper bound; ``(0.0, 1.0)`` without trials.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    center = share + z**2 / (2 * trials)
    margin = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, float((center - margin) / scale)), min(1.0, float((center + margin) / scale))


def bootstrap_interval(
    values: np.ndarray, groups: np.ndarray, *, confidence: float = 0.95, num_samples: int = 1_000, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean, if whole groups had been drawn anew: battles of one prompt are not independent.

    Groups are drawn with replacement by :func:`scipy.stats.bootstrap`; bounds are percentiles. Of few groups, and where
    all values are equal, draws are too much alike and the interval would claim too much: there Wilson's stands in, with
    a group as one trial, which needs values between 0 and 1.

    Args:
        values: ``(N,)``.
        groups: Which belong together, ``(N,)``.
        confidence: Chance that the true mean lies within.
        num_samples: Draws.
        seed: Of the draws.

    Returns:
        Lower and upper bound; ``(0.0, 1.0)`` without values.
    """
    from scipy.stats import bootstrap  # a second to import, which every command would pay

    if not len(values):
        return 0.0, 1.0
    values = np.asarray(values, dtype=np.float64)
    _, numbers = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    sums, sizes = np.bincount(numbers, weights=values), np.bincount(numbers).astype(np.float64)
    if len(sums) < MIN_BOOTSTRAP_GROUPS or np.ptp(values) == 0:
        low, high = wilson_interval(float(values.mean()) * len(sums), len(sums), confidence=confidence)
        return min(low, float(values.mean())), max(high, float(values.mean()))  # but for rounding they are that already

    def mean(drawn_sums: np.ndarray, drawn_sizes: np.ndarray, axis: int = -1) -> np.ndarray:
        return drawn_sums.sum(axis=axis) / drawn_sizes.sum(axis=axis)

    found = bootstrap(
        (sums, sizes),
        mean,
        n_resamples=num_samples,
        batch=max(1, _BOOTSTRAP_NUMBERS // len(sums)),
        vectorized=True,
        paired=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    center = float(values.mean())  # lies within, but for rounding
    return min(float(found.low), center), max(float(found.high), center)


@dataclass(frozen=True)
class PairedComparison:
    """Two predictors on the same battles."""

    num_battles: int
    difference: float
    """Accuracy of the first minus that of the second."""
    num_first_better: int
    """Battles on which only the first is right (or earns the larger credit)."""
    num_second_better: int
    p_value: float
    """How likely a split this uneven is between equally good predictors, two-sided."""
    difference_low: float
    """Lower bound of the difference."""
    difference_high: float
    """Upper bound of the difference."""


def compare_paired(
    first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None, *, confidence: float = 0.95
) -> PairedComparison:
    """Compare two predictors on the same battles.

    Of battles that are independent by McNemar's exact test, with a normal interval of the mean of paired differences.
    Where some of them share a prompt, by Student's t with a standard error that is robust to what they have in common,
    and as many degrees of freedom as prompts less one.
    Source: Liang and Zeger 1986, "Longitudinal data analysis using generalized linear models"; Cameron and Miller 2015,
    "A Practitioner's Guide to Cluster-Robust Inference", sections II and VI.

    Args:
        first: :func:`correctness` of one predictor, ``(N,)``.
        second: The same of the other, for the same battles in the same order.
        groups: Which battles belong together, ``(N,)``; None: each stands alone.
        confidence: Of the interval.

    Raises:
        ValueError: The shapes differ.
    """
    from scipy.stats import binomtest, t  # a second to import, which every command would pay

    if first.shape != second.shape:
        raise ValueError(f"the predictors were scored on different battles: {first.shape} and {second.shape}")
    wins, losses = int((first > second).sum()), int((first < second).sum())
    differences = np.asarray(first - second, dtype=np.float64)
    difference = float(np.mean(differences)) if len(first) else float("nan")
    numbers = (
        np.arange(len(first)) if groups is None else np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    )
    num_groups = int(numbers.max()) + 1 if len(numbers) else 0
    if num_groups == len(first):
        p_value = float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
        quantile = NormalDist().inv_cdf((1 + confidence) / 2)
        error = float(np.std(differences, ddof=1)) / np.sqrt(len(first)) if len(first) > 1 else float("nan")
    else:
        sums = np.bincount(numbers, weights=differences - difference)
        error = (
            np.sqrt(num_groups / (num_groups - 1) * (sums**2).sum()) / len(first) if num_groups > 1 else float("nan")
        )
        quantile = float(t.ppf((1 + confidence) / 2, num_groups - 1)) if num_groups > 1 else float("nan")
        p_value = float(2 * t.sf(abs(difference) / error, num_groups - 1)) if error > 0 else 1.0
    margin = quantile * error
    return PairedComparison(
        len(first), difference, wins, losses, p_value, float(difference - margin), float(difference + margin)
    )


def _share_named(winners: np.ndarray, answer: int) -> np.ndarray:
    """1 where an answer is named, 0 where the other one is, 0.5 for a tie."""
    return np.where(winners == 2, 0.5, (winners == answer).astype(float))


def _check(probabilities: np.ndarray, labels: np.ndarray) -> None:
    if probabilities.ndim != 2 or probabilities.shape != labels.shape:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} must have one shape (N, C)")
