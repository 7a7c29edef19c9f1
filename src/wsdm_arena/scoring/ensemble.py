"""What several readings say together: over both orders of a pair, and over judges. Joined by key, never by position.

Shapes: N pairs, C classes.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from wsdm_arena.errors import UserError
from wsdm_arena.schemas import LABEL_COLUMNS


class PredictionsError(UserError, ValueError):
    """A table of predictions does not hold the rows or values that it should."""


def probabilities_by_row(predictions: pd.DataFrame) -> pd.DataFrame:
    """Spread the probabilities of predictions over one column a class.

    Returns:
        Index ``(pair_id, order)``, columns ``probability_a``, ``probability_b``[, ``probability_tie``], float64: the
        first C of them, canonical whatever the order.

    Raises:
        PredictionsError: A row stands there twice, or rows have different numbers of classes, or a value is no
            probability.
    """
    keys = pd.MultiIndex.from_frame(predictions[["pair_id", "order"]])
    if keys.has_duplicates:
        repeated = keys[keys.duplicated()]
        raise PredictionsError(f"{len(repeated)} rows stand there more than once, among them {repeated[:3].tolist()}")
    sizes = sorted(set(predictions["probabilities"].map(len)))
    if len(sizes) > 1 or not set(sizes) <= {2, 3}:
        raise PredictionsError(f"rows have {sizes} probabilities; must have 2 or 3, all the same")
    num_classes = sizes[0] if sizes else 2
    values = np.array(predictions["probabilities"].tolist(), dtype=np.float64).reshape(-1, num_classes)
    is_distribution = (values >= 0).all(axis=1) & np.isclose(values.sum(axis=1), 1.0, atol=1e-3)  # False for NaN
    if not is_distribution.all():
        raise PredictionsError(
            f"{int((~is_distribution).sum())} rows have no probabilities that sum to 1, among them "
            f"{keys[~is_distribution][:3].tolist()}"
        )
    return pd.DataFrame(values, index=keys, columns=list(LABEL_COLUMNS[:num_classes]))


def average_orders(rows: pd.DataFrame) -> pd.DataFrame:
    """Average each pair over the orders in which it was read.

    Args:
        rows: As :func:`probabilities_by_row` gives them.

    Returns:
        The same columns, index ``pair_id``, sorted.
    """
    return rows.groupby(level="pair_id", sort=True).mean()


def average_judges(judges: Mapping[str, pd.DataFrame], weights: Mapping[str, float]) -> pd.DataFrame:
    """Average over judges, by ``pair_id``.

    Args:
        judges: For each judge a table as :func:`average_orders` gives it; all hold the same pairs and classes.
        weights: By judge; only their ratios count.

    Returns:
        As one of the tables.

    Raises:
        PredictionsError: The tables hold different pairs or classes.
    """
    total = sum(weights[judge] for judge in judges)
    mean: pd.DataFrame | None = None
    for judge, probabilities in judges.items():
        share = probabilities * (weights[judge] / total)
        if mean is not None and not (share.index.equals(mean.index) and share.columns.equals(mean.columns)):
            raise PredictionsError(f"{judge} has other pairs or classes than {next(iter(judges))}")
        mean = share if mean is None else mean + share
    if mean is None:
        raise PredictionsError("there is no judge to average")
    return mean


def differences(predictions: pd.DataFrame, order: str) -> pd.Series:
    """How much likelier A wins than B, as read in one order.

    Args:
        predictions: Of one judge.
        order: "ab" or "ba"; the result is canonical in both cases.

    Returns:
        ``d = p_a - p_b`` in float64, between -1 and 1, by ``pair_id`` (index, sorted), named "d".

    Raises:
        PredictionsError: No row was read in this order, or a row is not as it should be.
    """
    chosen = predictions[predictions["order"] == order]
    if chosen.empty and len(predictions):
        raise PredictionsError(
            f"no pair was read in order {order!r}, only in {sorted(set(predictions['order']))}; score that order, too"
        )
    rows = probabilities_by_row(chosen).droplevel("order").sort_index()
    return (rows["probability_a"] - rows["probability_b"]).rename("d")
