"""Temperature scaling: one number that makes a judge's probabilities honest without changing any verdict of one order.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS, ORDERS
from wsdm_arena.errors import UserError
from wsdm_arena.metrics import accuracy, log_loss
from wsdm_arena.scoring.ensemble import average_orders, values_by_row
from wsdm_arena.scoring.predictor import canonical_probabilities

logger = logging.getLogger(__name__)

BOUNDS = (0.2, 5.0)
"""Temperatures that are looked at; a judge further off is not helped by one number."""
_GRID_SIZE = 33
_AT_BOUND = 1.01
_MIN_GAIN = 1e-6
"""Below it, in nats, rounding decides: the temperature stays at 1."""


class CalibrationError(UserError, ValueError):
    """Predictions and battles do not belong together."""


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Attributes:
        temperature: Logits are divided by it; above 1 the judge was too sure of itself.
        num_pairs: Pairs that it was fitted on.
        log_loss_before: Of those pairs' averaged probabilities at temperature 1, in nats; None without pairs.
        log_loss_after: The same at ``temperature``.
        note: Why the temperature is not to be relied on; empty where it is.
    """

    temperature: float
    num_pairs: int
    log_loss_before: float | None
    log_loss_after: float | None
    note: str = ""


def apply_temperature(logits: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.floating]:
    """Divide logits by a temperature.

    Raises:
        ValueError: The temperature is not a positive, finite number.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature} must be a number above 0")
    return logits / temperature


def fit_temperature(predictions: pd.DataFrame, battles: pd.DataFrame) -> Calibration:
    """Find the temperature at which a judge's probabilities, averaged over orders, have the least log loss.

    The temperature is applied where it is used: to the logits of each reading, before the readings of a pair are
    averaged as probabilities. So what is minimised is the log loss of the probabilities that people get, not that of
    one reading; two readings that differ soften their mean, so the best temperature tends to be lower than that of one.
    For readings in one order only, fit on predictions in that order. With two classes and two orders no verdict changes
    at any temperature: the mean favours A exactly if the logit margins of both orders sum to more than 0.

    The mean of two readings has a log loss that need not be convex, so the best point of a grid is refined by scipy's
    bounded minimiser between its neighbours.

    Args:
        predictions: ``pair_id``, ``order``, ``logits`` (in displayed order), of pairs that the judge never trained on.
        battles: ``pair_id`` and label columns; a pair that was voted on twice counts twice. Battles without a
            prediction and predictions without a battle are left out.

    Raises:
        CalibrationError: Predictions and labels differ in their classes.
        PredictionsError: A pair was read twice in one order.
    """
    labelled = battles[battles["pair_id"].isin(predictions["pair_id"])]
    if labelled.empty:
        note = "no pair has both a prediction and a vote, so the temperature is left at 1"
        logger.warning("calibration: %s", note)
        return Calibration(1.0, 0, None, None, note)
    readings = _Readings.of(predictions, labelled)
    temperature = _minimise(readings)
    note = _doubt(temperature, readings)
    if note:
        logger.warning("calibration: %s", note)
    return Calibration(temperature, readings.num_pairs, readings.log_loss(1.0), readings.log_loss(temperature), note)


@dataclass(frozen=True)
class _Readings:
    """R readings of P pairs that have V votes, over C classes.

    Attributes:
        logits: ``(R, C)`` in displayed order, by ``(pair_id, order)``.
        labels: ``(V, C)`` by ``pair_id``.
    """

    logits: pd.DataFrame
    labels: pd.DataFrame

    @classmethod
    def of(cls, predictions: pd.DataFrame, battles: pd.DataFrame) -> "_Readings":
        logits = values_by_row(predictions, "logits")
        columns = [column for column in LABEL_COLUMNS if column in battles]
        if logits.shape[1] != len(columns):
            raise CalibrationError(f"predictions have {logits.shape[1]} classes, labels have {columns}")
        labels = battles.set_index("pair_id")[columns].astype(np.float64)
        return cls(logits[logits.index.isin(labels.index, level="pair_id")], labels)

    @property
    def num_pairs(self) -> int:
        return self.labels.index.nunique()

    def probabilities(self, temperature: float) -> npt.NDArray[np.float64]:
        """For each vote what the judge says of its pair, averaged over the orders it was read in; ``(V, C)``."""
        scaled = apply_temperature(self.logits.to_numpy(), temperature)
        each = canonical_probabilities(scaled, self.logits.index.get_level_values("order") == ORDERS[1])
        averaged = average_orders(pd.DataFrame(each, index=self.logits.index))
        return averaged.loc[self.labels.index].to_numpy()

    def log_loss(self, temperature: float) -> float:
        return log_loss(self.probabilities(temperature), self.labels.to_numpy())


def _minimise(readings: _Readings) -> float:
    from scipy.optimize import minimize_scalar  # a second to import, which every command would pay

    grid = np.linspace(math.log(BOUNDS[0]), math.log(BOUNDS[1]), _GRID_SIZE)
    losses = [readings.log_loss(float(np.exp(point))) for point in grid]
    best = int(np.argmin(losses))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, _GRID_SIZE - 1)])
    found = minimize_scalar(
        lambda point: readings.log_loss(float(np.exp(point))), bounds=around, method="bounded", options={"xatol": 1e-4}
    )
    point = float(found.x) if found.fun <= losses[best] else float(grid[best])
    temperature = float(np.clip(np.exp(point), *BOUNDS))
    gain = readings.log_loss(1.0) - readings.log_loss(temperature)
    return temperature if gain > _MIN_GAIN else 1.0


def _doubt(temperature: float, readings: _Readings) -> str:
    """Say why a temperature is not to be relied on; empty if it is."""
    lower, upper = BOUNDS
    if lower * _AT_BOUND < temperature < upper / _AT_BOUND:
        return ""
    credit = accuracy(readings.probabilities(temperature), readings.labels.to_numpy())
    reason = f"{credit:.0%} of {len(readings.labels)} votes are as the judge says"
    return f"the log loss has no minimum between {lower} and {upper}, so {temperature:.3g} is a bound: {reason}"
