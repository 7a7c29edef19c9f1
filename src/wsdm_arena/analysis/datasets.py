"""How large the tables of a run are, and what they are about."""

from collections.abc import Mapping
from typing import TypedDict

import pandas as pd


class TableSummary(TypedDict):
    """A table of pairs in figures."""

    num_rows: int
    num_prompts: int
    languages: dict[str, int]
    """Rows by language, the most frequent first."""
    sources: dict[str, int]
    """Rows by source, the most frequent first."""


def summarize_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, TableSummary]:
    """Count rows and prompts; of columns that a table lacks nothing is said."""
    return {name: _summarize(table) for name, table in tables.items()}


def _summarize(table: pd.DataFrame) -> TableSummary:
    prompts = next((column for column in ("prompt_group", "prompt", "pair_id") if column in table), None)
    return {
        "num_rows": len(table),
        "num_prompts": 0 if prompts is None else int(table[prompts].nunique()),
        "languages": _counts(table, "language"),
        "sources": _counts(table, "source"),
    }


def _counts(table: pd.DataFrame, column: str) -> dict[str, int]:
    if column not in table:
        return {}
    counted = table[column].dropna().astype("str").value_counts()
    ordered = sorted(counted.items(), key=lambda item: (-int(item[1]), str(item[0])))
    return {str(name): int(number) for name, number in ordered}
