"""What judges say of pairs, put together: over orders, over judges, or as a cascade decides.

Shapes: N pairs, O orders, C classes. NaN stands for what was not read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS, ORDERS
from wsdm_arena.scoring.calibration import apply_temperature
from wsdm_arena.scoring.predictor import canonical_probabilities

FloatArray = npt.NDArray[np.float64]
WINNERS = ("model_a", "model_b", "tie")


@dataclass(frozen=True)
class Verdict:
    """What is said of one pair.

    Attributes:
        winner: ``model_a``, ``model_b`` or, of judges that know ties, ``tie``; of equal probabilities the first. A
            cascade decides between A and B, as the submission does, and never says ``tie``, however likely.
        probability_a: That people prefer answer A.
        probability_b: That they prefer answer B.
        probability_tie: That they prefer neither; None of judges that do not know ties.
        swap_gap: How far the probability of A moved when the answers changed places, ``|p_ab - p_ba|``: 0 of a judge
            that does not mind positions. None where not both orders were read.
        truncated: Whether something was cut out of the texts before a judge read them.
        judges: What each judge says, by name, ``(a, b[, tie])``; empty where there is one judge. A judge that did not
            read the pair, as a cascade's second may not, is left out.
    """

    winner: str
    probability_a: float
    probability_b: float
    probability_tie: float | None = None
    swap_gap: float | None = None
    truncated: bool = False
    judges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdicts:
    """What is said of N pairs.

    Attributes:
        probabilities: ``(N, C)``, canonical a, b[, tie].
        winners: ``(N,)`` of :data:`WINNERS`; None where there is no verdict.
        swap_gap: ``(N,)``.
        truncated: ``(N,)``.
        decided_by: ``(N,)``, by which judges; None with one judge.
        judges: What each says, ``(N, C)``; empty with one judge.
    """

    probabilities: FloatArray
    winners: npt.NDArray[np.object_]
    swap_gap: FloatArray
    truncated: npt.NDArray[np.bool_]
    decided_by: npt.NDArray[np.object_] | None = None
    judges: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, position: int) -> Verdict:
        values = _or_none(self.probabilities[position])
        return Verdict(
            winner=self.winners[position],
            probability_a=values[0],
            probability_b=values[1],
            probability_tie=values[2] if len(values) > 2 else None,
            swap_gap=_or_none(self.swap_gap[position : position + 1])[0],
            truncated=bool(self.truncated[position]),
            judges={
                name: tuple(each[position].tolist())
                for name, each in self.judges.items()
                if not np.isnan(each[position]).any()
            },
        )

    def to_frame(self, index: pd.Index | None = None) -> pd.DataFrame:
        """Make one row a pair.

        Args:
            index: Of the frame; row numbers by default.

        Returns:
            ``winner``, ``probability_a``, ``probability_b``[, ``probability_tie``], ``swap_gap``, ``truncated``; of
            several judges also ``decided_by`` and each one's ``probability_a.<judge>`` and so on.
        """
        columns: dict[str, Any] = {"winner": pd.Series(self.winners, dtype="str").to_numpy()}
        columns |= dict(zip(LABEL_COLUMNS, self.probabilities.T, strict=False))
        columns |= {"swap_gap": self.swap_gap, "truncated": self.truncated}
        if self.decided_by is not None:
            columns["decided_by"] = self.decided_by
        for name, each in self.judges.items():
            columns |= {f"{column}.{name}": values for column, values in zip(LABEL_COLUMNS, each.T, strict=False)}
        frame = pd.DataFrame(columns, index=index)
        strings = [name for name in ("winner", "decided_by") if name in frame]
        return frame.astype(dict.fromkeys(strings, "str"))

    def take(self, positions: npt.NDArray[Any]) -> "Verdicts":
        """Some of the pairs, in the given order and as often as they stand there."""
        return Verdicts(
            probabilities=self.probabilities[positions],
            winners=self.winners[positions],
            swap_gap=self.swap_gap[positions],
            truncated=self.truncated[positions],
            decided_by=None if self.decided_by is None else self.decided_by[positions],
            judges={name: each[positions] for name, each in self.judges.items()},
        )


def read_probabilities(logits: npt.NDArray[Any], orders: Sequence[str], temperature: float) -> FloatArray:
    """Canonical probabilities of readings in each order, at a temperature.

    Args:
        logits: ``(N, O, C)`` in displayed order, of :func:`~wsdm_arena.judging.reading.read_orders`.
        orders: O of "ab" and "ba".
        temperature: Logits are divided by it; 1 leaves them as they are.

    Returns:
        ``(N, O, C)``; NaN where a logit is not finite.
    """
    probabilities = np.full(logits.shape, np.nan)
    for number, order in enumerate(orders):
        scaled = apply_temperature(logits[:, number].astype(np.float64), temperature)
        readable = np.isfinite(scaled).all(axis=1)
        swapped = np.full(int(readable.sum()), order == ORDERS[1])
        probabilities[readable, number] = canonical_probabilities(scaled[readable], swapped)
    return probabilities


def mean_verdicts(
    readings: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    truncated: Mapping[str, npt.NDArray[np.bool_]],
    orders: Sequence[str],
) -> Verdicts:
    """Average over orders, then over judges by weight, as :mod:`wsdm_arena.scoring.ensemble` does.

    A judge that did not read a pair in every order has no say in it; the others' weights grow in proportion.

    Args:
        readings: By judge ``(N, O, C)``, of :func:`read_probabilities`.
        weights: By judge; only their ratios count.
        truncated: By judge ``(N,)``.
        orders: O of "ab" and "ba".
    """
    means = {name: each.mean(axis=1) for name, each in readings.items()}
    have_read = {name: ~np.isnan(mean).any(axis=1) for name, mean in means.items()}
    total = sum(np.where(have_read[name], weights[name], 0.0) for name in readings)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = {name: np.where(have_read[name], weights[name], 0.0) / total for name in readings}
    probabilities = _weighted(means, shares)
    if set(orders) == set(ORDERS):
        in_orders = [_weighted({name: each[:, o, :1] for name, each in readings.items()}, shares)[:, 0] for o in (0, 1)]
        swap_gap = np.abs(in_orders[0] - in_orders[1])
    else:
        swap_gap = np.full(len(probabilities), np.nan)
    several = len(readings) > 1
    return Verdicts(
        probabilities=probabilities,
        winners=name_winners(probabilities),
        swap_gap=swap_gap,
        truncated=np.any([truncated[name] & have_read[name] for name in readings], axis=0),
        decided_by=_who(have_read) if several else None,
        judges=means if several else {},
    )


def name_winners(probabilities: FloatArray) -> npt.NDArray[np.object_]:
    """The likeliest class of each pair, of equally likely ones the first; None where there are no probabilities."""
    unread = np.isnan(probabilities).any(axis=1)
    likeliest = np.where(np.isnan(probabilities), -1.0, probabilities).argmax(axis=1)
    winners = np.array(WINNERS, dtype=object)[likeliest]
    winners[unread] = None
    return winners


def with_ties(first_two: FloatArray, num_classes: int) -> FloatArray:
    """Add the tie's probability to those of A and B, ``(N, 2)`` to ``(N, C)``: what is left to 1."""
    if num_classes == 2:
        return first_two
    rest = np.clip(1 - first_two.sum(axis=1, keepdims=True), 0.0, 1.0)
    return np.concatenate([first_two, rest], axis=1)


def _weighted(values: Mapping[str, FloatArray], shares: Mapping[str, FloatArray]) -> FloatArray:
    """Sum by shares, ``(N, K)``; NaN where nobody has a share."""
    parts = [np.where(shares[name][:, None] > 0, each * shares[name][:, None], 0.0) for name, each in values.items()]
    nobody = np.isnan(next(iter(shares.values())))
    return np.where(nobody[:, None], np.nan, np.sum(parts, axis=0))


def _who(have_read: Mapping[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.object_]:
    names = list(have_read)
    rows = np.stack([have_read[name] for name in names], axis=1)
    said = ["+".join(name for name, has in zip(names, row, strict=True) if has) or None for row in rows.tolist()]
    return np.array(said, dtype=object)


def _or_none(values: FloatArray) -> list[Any]:
    return [None if np.isnan(value) else value for value in values.tolist()]
