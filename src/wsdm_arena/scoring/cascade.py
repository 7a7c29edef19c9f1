"""Two judges that share the work: the second reads only pairs whose winner it can still change.

Of each pair only the difference ``d = p_a - p_b`` in canonical order counts, ``-1 <= d <= 1``; with three classes the
tie's probability is left aside. Both readings decide by the sign of ``d1 + r * d2`` with ``r = w2 / w1``, in float64.
Since ``|d2| <= 1``, the first judge alone has decided where ``|d1| >= r``. This is exact, not only up to rounding:
``r * |d2|`` never rounds to more than ``r``, so the sum has the sign of ``d1`` or is 0, and where it is 0 the first
judge's sign decides; and below ``r`` the second judge's ``d2 = -sign(d1)`` does change the winner.

The rule for ties, everywhere: the sign of ``d1 + r * d2``, if that is 0 the sign of ``d1``, if that is 0 too model A.

Shapes: N pairs, C classes. NaN stands for a pair that a judge did not read.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsdm_arena.errors import UserError

FloatArray = npt.NDArray[np.float64]
Weights = tuple[float, float]
"""Of the first and the second judge; only their ratio counts."""


class CascadeError(UserError, ValueError):
    """Weights, thresholds or readings that make no cascade."""


def differences(probabilities: npt.NDArray[Any]) -> FloatArray:
    """How far A is ahead of B, ``p_a - p_b``.

    Args:
        probabilities: ``(N, C)`` in canonical order a, b[, tie]; NaN where a pair was not read.

    Returns:
        ``(N,)``, computed in float64 whatever the type, so that a table read back from a file decides alike.

    Raises:
        CascadeError: A value is no probability.
    """
    first_two = np.asarray(probabilities)[:, :2].astype(np.float64)
    if ((first_two < 0) | (first_two > 1)).any():
        raise CascadeError("probabilities must lie between 0 and 1")
    return first_two[:, 0] - first_two[:, 1]


def decisive_threshold(weights: Weights) -> float:
    """From which ``|d1|`` on the second judge cannot change the winner: ``w2 / w1``.

    Above 1 where the second judge weighs more: then it can change any.

    Raises:
        CascadeError: A weight is negative or not finite, or the first is 0.
    """
    first, second = (float(weight) for weight in weights)
    if not (first > 0 and second >= 0 and np.isfinite([first, second]).all() and np.isfinite(second / first)):
        raise CascadeError(f"weights {first:g} : {second:g}: the first must be above 0 and the second at least 0")
    return second / first


def resolve_threshold(weights: Weights, threshold: float | None) -> float:
    """The threshold that was asked for, or the decisive one.

    Raises:
        CascadeError: It is negative or not a number, or the weights are out of range.
    """
    decisive = decisive_threshold(weights)
    if threshold is None:
        return decisive
    if not threshold >= 0:
        raise CascadeError(f"threshold={threshold}: must be at least 0")
    return float(threshold)


def select_uncertain(first: npt.NDArray[Any], threshold: float) -> npt.NDArray[np.bool_]:
    """Which pairs the second judge reads: ``|d1| < threshold``, and those that the first could not read.

    Args:
        first: d1, ``(N,)``.
        threshold: Of :func:`resolve_threshold`.
    """
    # In float32 the threshold would be rounded before it is compared.
    return ~(np.abs(np.asarray(first, dtype=np.float64)) >= threshold)


def combine(first: npt.NDArray[Any], second: npt.NDArray[Any], weights: Weights) -> FloatArray:
    """Add up both readings on the first judge's scale, ``d1 + r * d2``; the only one where there is one.

    Args:
        first: d1, ``(N,)``.
        second: d2, ``(N,)``.
        weights: Of both judges.

    Returns:
        ``(N,)``; NaN where neither judge read.
    """
    d1, d2 = _checked(first), _checked(second)
    return np.where(np.isnan(d2), d1, np.where(np.isnan(d1), d2, d1 + decisive_threshold(weights) * d2))


def decide(first: npt.NDArray[Any], second: npt.NDArray[Any], weights: Weights) -> npt.NDArray[np.object_]:
    """Name the winners by the rule that the module describes.

    Arguments are those of :func:`combine`.

    Returns:
        ``(N,)`` of ``"model_a"``, ``"model_b"`` and, where neither judge read, None.
    """
    lead = combine(first, second, weights)
    lead = np.where(lead == 0, np.nan_to_num(_checked(first)), lead)
    winners = np.where(lead >= 0, "model_a", "model_b").astype(object)
    winners[np.isnan(lead)] = None
    return winners


def mix_probabilities(first: npt.NDArray[Any], second: npt.NDArray[Any], weights: Weights) -> FloatArray:
    """Average what both judges say by their weights; where only one read, its own.

    The mean never contradicts :func:`decide`: the winner's probability is at least the other's.

    Args:
        first: Canonical probabilities ``(N, C)``, NaN in rows that the judge did not read.
        second: The same of the second judge.
        weights: Of both judges.

    Returns:
        ``(N, C)``; NaN where neither judge read.
    """
    p1, p2 = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    ratio = decisive_threshold(weights)
    mean = (p1 + ratio * p2) / (1 + ratio)
    # From sum and lead, since rounding could turn round two probabilities that lie close together.
    half_sum = mean[:, :2].sum(axis=1) / 2
    half_lead = combine(differences(p1), differences(p2), weights) / (1 + ratio) / 2
    mean[:, 0], mean[:, 1] = half_sum + half_lead, half_sum - half_lead
    only_first, only_second = np.isnan(p2).any(axis=1), np.isnan(p1).any(axis=1)
    mean[only_second] = p2[only_second]
    mean[only_first] = p1[only_first]
    return np.clip(mean, 0.0, 1.0)


@dataclass(frozen=True)
class CascadeSummary:
    """What the second judge had to do, and what came of it."""

    num_rows: int
    num_selected: int
    """Rows whose winner the second judge is to confirm, by :func:`select_uncertain`."""
    num_read_twice: int
    num_winners_changed: int
    """Rows whose winner is another than the first judge's."""
    share_selected: float
    share_read_twice: float
    share_at_compared_threshold: float
    """Of the rows that the second judge would have to read with the threshold compared with."""

    @classmethod
    def of(
        cls,
        first: npt.NDArray[Any],
        second: npt.NDArray[Any],
        *,
        weights: Weights,
        threshold: float,
        compared_threshold: float,
    ) -> "CascadeSummary":
        """Count; shares of no rows are 0.

        Args:
            first: d1, ``(N,)``.
            second: d2, ``(N,)``.
            weights: Of both judges.
            threshold: Below which the second judge is to read.
            compared_threshold: Another threshold, whose share of rows is reported beside it.
        """
        nobody = np.full(len(first), np.nan)
        alone, together = decide(first, nobody, weights), decide(first, second, weights)
        read_first = ~np.isnan(first)
        selected, twice = read_first & select_uncertain(first, threshold), read_first & ~np.isnan(second)
        return cls(
            num_rows=len(first),
            num_selected=int(selected.sum()),
            num_read_twice=int(twice.sum()),
            num_winners_changed=int((alone[read_first] != together[read_first]).sum()),
            share_selected=_share(selected),
            share_read_twice=_share(twice),
            share_at_compared_threshold=_share(read_first & select_uncertain(first, compared_threshold)),
        )


def _checked(values: npt.NDArray[Any]) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if (np.abs(values) > 1).any():
        raise CascadeError("differences of probabilities must lie between -1 and 1")
    return values


def _share(chosen: npt.NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0
