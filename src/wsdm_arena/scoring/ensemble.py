"""What several readings say together: over both orders of a pair, and over judges. Joined by key, never by position.

Whatever compares or combines predictions reads them through here.
Shapes: N pairs, C classes.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.errors import UserError


class PredictionsError(UserError, ValueError):
    """A table of predictions does not hold the rows or values that it should."""


def values_by_row(predictions: pd.DataFrame, column: str) -> pd.DataFrame:
    """Spread a column of lists over one column a class.

    Args:
        predictions: ``pair_id``, ``order`` and the column.
        column: "probabilities" or "logits".

    Returns:
        Index ``(pair_id, order)``, columns 0 to C - 1, float64.

    Raises:
        PredictionsError: A row stands there twice, or rows have different numbers of classes.
    """
    keys = pd.MultiIndex.from_frame(predictions[["pair_id", "order"]])
    if keys.has_duplicates:
        repeated = keys[keys.duplicated()]
        raise PredictionsError(f"{len(repeated)} rows stand there more than once, among them {repeated[:3].tolist()}")
    sizes = sorted(set(predictions[column].map(len)))
    if len(sizes) > 1 or not set(sizes) <= {2, 3}:
        raise PredictionsError(f"rows have {sizes} {column}; must have 2 or 3, all the same")
    num_classes = sizes[0] if sizes else 2
    values = np.array(predictions[column].tolist(), dtype=np.float64).reshape(-1, num_classes)
    return pd.DataFrame(values, index=keys)


def probabilities_by_row(predictions: pd.DataFrame) -> pd.DataFrame:
    """Spread the probabilities of predictions over one column a class.

    Returns:
        Index ``(pair_id, order)``, columns ``probability_a``, ``probability_b``[, ``probability_tie``], float64: the
        first C of them, canonical whatever the order.

    Raises:
        PredictionsError: A row stands there twice, or rows have different numbers of classes, or a value is no
            probability.
    """
    rows = values_by_row(predictions, "probabilities")
    values = rows.to_numpy()
    is_distribution = (values >= 0).all(axis=1) & np.isclose(values.sum(axis=1), 1.0, atol=1e-3)  # False for NaN
    if not is_distribution.all():
        raise PredictionsError(
            f"{int((~is_distribution).sum())} rows have no probabilities that sum to 1, among them "
            f"{rows.index[~is_distribution][:3].tolist()}"
        )
    return rows.set_axis(list(LABEL_COLUMNS[: rows.shape[1]]), axis="columns")


def select_order(rows: pd.DataFrame, order: str) -> pd.DataFrame:
    """The readings in one order.

    Args:
        rows: As :func:`probabilities_by_row` gives them.
        order: "ab" or "ba".

    Returns:
        The same columns, index ``pair_id``, sorted.
    """
    return rows[rows.index.get_level_values("order") == order].droplevel("order").sort_index()


def common_orders(rows: pd.DataFrame) -> str:
    """Name the orders that every pair was read in, such as ``ab+ba``; empty without pairs.

    Args:
        rows: As :func:`probabilities_by_row` gives them.

    Raises:
        PredictionsError: Not all pairs were read in the same.
    """
    keys = rows.index.to_frame(index=False)
    bits = {order: 1 << number for number, order in enumerate(sorted(keys["order"].unique()))}
    counted = keys["order"].map(bits).groupby(keys["pair_id"]).sum().value_counts()  # joining texts takes a second
    names = ["+".join(order for order, bit in bits.items() if found & bit) for found in counted.index]
    if len(names) > 1:
        counts = ", ".join(f"{count} in {orders}" for orders, count in zip(names, counted, strict=True))
        raise PredictionsError(f"pairs were read in different orders: {counts}; score all of them in the same")
    return names[0] if names else ""


def average_orders(rows: pd.DataFrame) -> pd.DataFrame:
    """Average each pair over the orders in which it was read.

    Args:
        rows: As :func:`probabilities_by_row` or :func:`values_by_row` gives them.

    Returns:
        The same columns in float64, index ``pair_id``, sorted.
    """
    return rows.astype(np.float64).groupby(level="pair_id", sort=True).mean()


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
