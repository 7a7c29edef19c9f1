import numpy as np
import pandas as pd
import pytest

from wsdm_arena.scoring.ensemble import (
    PredictionsError,
    average_orders,
    common_orders,
    probabilities_by_row,
    select_order,
    values_by_row,
)


def key(number: int) -> str:
    return f"{number:032x}"


def predicted(by_order: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Predictions of pairs 0, 1, ...; rows are shuffled."""
    rows = [
        {"pair_id": key(number), "order": order, "probabilities": np.array(value, dtype=np.float32)}
        for order, values in by_order.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["pair_id", "order", "probabilities"]).sample(frac=1, random_state=1)


BOTH = {"ab": [[0.9, 0.1], [0.2, 0.8]], "ba": [[0.7, 0.3], [0.4, 0.6]]}


def test_one_column_a_class():
    rows = probabilities_by_row(predicted({"ba": [[0.5, 0.3, 0.2]]}))
    assert rows.index.tolist() == [(key(0), "ba")]
    assert rows.columns.tolist() == ["probability_a", "probability_b", "probability_tie"]
    np.testing.assert_allclose(rows.to_numpy(), [[0.5, 0.3, 0.2]], atol=1e-7)


def test_the_readings_of_one_order_are_keyed_by_pair():
    rows = probabilities_by_row(predicted(BOTH))
    for order, expected in BOTH.items():
        chosen = select_order(rows, order)
        assert chosen.index.tolist() == [key(0), key(1)]
        np.testing.assert_allclose(chosen.to_numpy(), expected, atol=1e-7)
    assert select_order(rows.iloc[:0], "ab").empty


def test_the_average_over_orders_is_keyed_by_pair_and_rounded_once():
    averaged = average_orders(probabilities_by_row(predicted(BOTH)))
    assert averaged.index.tolist() == [key(0), key(1)]
    stored = {order: np.array(values, dtype=np.float32).astype(np.float64) for order, values in BOTH.items()}
    np.testing.assert_array_equal(averaged.to_numpy(), (stored["ab"] + stored["ba"]) / 2)


def test_orders_are_named_and_must_be_the_same_for_all_pairs():
    table = predicted(BOTH)
    assert common_orders(probabilities_by_row(table)) == "ab+ba"
    assert common_orders(probabilities_by_row(table[table["order"] == "ba"])) == "ba"
    assert common_orders(probabilities_by_row(table.iloc[:0])) == ""
    lacking = table[(table["pair_id"] != key(0)) | (table["order"] != "ab")]
    with pytest.raises(PredictionsError, match=r"different orders: 1 in .*, 1 in "):
        common_orders(probabilities_by_row(lacking))


def test_logits_are_no_probabilities_but_keyed_alike():
    table = predicted({"ab": [[3.0, -1.0]]}).rename(columns={"probabilities": "logits"})
    assert values_by_row(table, "logits").loc[(key(0), "ab")].tolist() == [3.0, -1.0]
    with pytest.raises(PredictionsError, match="1 rows stand there more than once"):
        values_by_row(pd.concat([table, table]), "logits")


def test_averages_are_float64_whatever_the_type():
    rows = probabilities_by_row(predicted(BOTH))
    averaged = average_orders(rows.astype(np.float32))
    assert set(averaged.dtypes) == {np.dtype(np.float64)}
    pd.testing.assert_frame_equal(averaged, average_orders(rows), check_exact=True)
