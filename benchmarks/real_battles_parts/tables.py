"""The report as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def write_tables(path: Path, report: Mapping[str, Any]) -> None:
    """Write a table for each scope of methods by sources, and one of paired differences."""
    rows = pd.DataFrame(report["rows"])
    if rows.empty:
        path.write_text("")
        return
    parts = []
    own = rows[rows["trained_on"] == rows["source"]]
    if len(own):
        parts.append(_heading("Each source by itself") + accuracy_table(own))
    for scope, table in rows[rows["trained_on"] != rows["source"]].groupby("trained_on"):
        parts.append(_heading(f"Trained on {scope}") + accuracy_table(table))
    if report["comparisons"]:
        parts.append(_heading("Differences, paired") + difference_table(pd.DataFrame(report["comparisons"])))
    path.write_text("\n".join(parts))


def accuracy_table(rows: pd.DataFrame) -> str:
    """Methods by sources and languages: accuracy with its interval."""
    columns = rows["source"] + rows["language"].map(lambda name: "" if pd.isna(name) else f", {name}")
    cells = [
        f"{accuracy:.3f} ({low:.3f} to {high:.3f})"
        for accuracy, low, high in rows[["accuracy", "accuracy_low", "accuracy_high"]].itertuples(index=False)
    ]
    sizes = rows.assign(column=columns).groupby("column")["num_battles"].max()
    table = rows.assign(column=columns, cell=cells).pivot_table(
        index="method", columns="column", values="cell", aggfunc="first", fill_value=""
    )
    return _markdown(
        ["method", *(f"{name} ({sizes[name]})" for name in table.columns)],
        [[str(method), *map(str, values)] for method, values in zip(table.index, table.to_numpy(), strict=True)],
    )


def difference_table(comparisons: pd.DataFrame) -> str:
    """What is better, or worse, than a baseline beyond chance."""
    told = comparisons[comparisons["p_value"] < 0.05].sort_values(["source", "trained_on", "method"])
    return _markdown(
        ["source", "trained on", "method", "rival", "difference", "p"],
        [
            [
                *map(str, (row.source, row.trained_on, row.method, row.rival)),
                f"{row.difference:+.3f} ({row.difference_low:+.3f} to {row.difference_high:+.3f})",
                f"{row.p_value:.4f}",
            ]
            for row in told.itertuples()
        ],
    )


def _heading(text: str) -> str:
    return f"### {text}\n\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
