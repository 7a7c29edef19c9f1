"""Pairs to be judged: every row of the test table, since every row wants an answer."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wsdm_arena.preferences.folds import BattlesError
from wsdm_arena.preferences.languages import normalize_language
from wsdm_arena.preferences.pair_ids import pair_id
from wsdm_arena.preferences.raw_tables import FAULT_COLUMN, INTERNAL_COLUMNS, TEXT_COLUMNS, check_columns
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_names, clean_texts, count_turns, is_null, storable_column

_FRONT_COLUMNS = ("pair_id", "id", "source", "prompt", "response_a", "response_b", "num_turns", "language")


class TestPairTables(NamedTuple):
    """Pairs to be judged, and what became of the raw rows."""

    test_pairs: pd.DataFrame
    report: dict[str, Any]


def build_test_pairs(raw: pd.DataFrame) -> TestPairTables:
    """Name the pairs of a test table.

    Obligatory columns are ``prompt``, ``response_a`` and ``response_b``; others pass through. No row is dropped,
    whatever its texts are, but repetitions of an id with the same texts. A table without ids gets the numbers of its
    rows, from 1.

    Returns:
        Pairs with the columns of :class:`wsdm_arena.schemas.TestPairs`, in the order of the table, and a report that
        JSON can hold.

    Raises:
        RawTableError: An obligatory column is missing.
        BattlesError: An id stands for different pairs, so that a submission could not hold both answers.
    """
    raw = raw.reset_index(drop=True)
    check_columns(raw, TEXT_COLUMNS)
    report = RowReport(raw)
    columns = {name: clean_texts(raw[name], report) for name in TEXT_COLUMNS}
    texts = zip(*(columns[name] for name in TEXT_COLUMNS), strict=True)
    ids = clean_names(raw["id"], report) if "id" in raw else [None] * len(raw)
    known = {
        **columns,
        "pair_id": [pair_id(*row) for row in texts],
        "id": [identity or f"{position}" for position, identity in enumerate(ids, start=1)],
        "source": clean_names(raw["source"], report) if "source" in raw else ["table"] * len(raw),
        "num_turns": np.array([count_turns(prompt) for prompt in columns["prompt"]], dtype=np.int64),
        "language": [normalize_language(name) for name in raw.get("language", pd.Series([None] * len(raw)))],
    }
    passed = {
        name: storable_column(raw[name]) for name in raw.columns if name not in known and name not in INTERNAL_COLUMNS
    }
    pairs = pd.DataFrame({**{name: known[name] for name in _FRONT_COLUMNS}, **passed})
    repeated = _repeated_ids(pairs, report)
    report.leave_out(repeated, "the row repeats another")
    if FAULT_COLUMN in raw:
        report.repair(~is_null(raw[FAULT_COLUMN]), "the row cannot be read: kept without texts")
    report.log_summary("test pairs", int((~repeated).sum()))
    strings = [name for name in _FRONT_COLUMNS if name != "num_turns"]
    test_pairs = pairs[~repeated].reset_index(drop=True).astype(dict.fromkeys(strings, "str"))
    return TestPairTables(test_pairs, {**report.to_dict(), "num_test_pairs": len(test_pairs)})


def _repeated_ids(pairs: pd.DataFrame, report: RowReport) -> np.ndarray:
    contents = pairs.groupby("id")["pair_id"].transform("nunique")
    conflicting = (contents > 1).to_numpy()
    if conflicting.any():
        shown = ", ".join(repr(name) for name in pairs.loc[conflicting, "id"].drop_duplicates()[:5])
        raise BattlesError(
            f"column 'id': an id stands for different pairs ({shown}): {report.describe(conflicting)}. "
            "A submission has one row an id; give each pair an id of its own."
        )
    return pairs["id"].duplicated().to_numpy()
