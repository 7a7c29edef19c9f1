"""The scoreboard as a table for people."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from wsdm_arena.scoring.scoreboard import BASELINE_STAGE, ScoreboardRow, slice_of
from wsdm_arena.scoring.slices import SOUND

SHOWN_SLICES = ("source", "language", "flaw")
"""Kinds of slices that have a table; the report shows all."""
MAX_SLICES = 12
"""Columns of a table of slices; all of them stand in the JSON."""


def render_scoreboard(rows: Sequence[ScoreboardRow], *, width: int = 160) -> str:
    """Draw the scoreboard for people: whole datasets in full, their slices as accuracies side by side.

    Args:
        rows: Of any stages and judges.
        width: Characters a line.
    """
    whole = [row for row in rows if not slice_of(row)]
    datasets = {row["dataset"]: number for number, row in reversed(list(enumerate(whole)))}
    tables = [_whole_table(sorted(whole, key=lambda row: datasets[row["dataset"]]))]
    kinds = dict.fromkeys(slice_of(row).partition("=")[0] for row in rows if slice_of(row))
    for kind in (kind for kind in kinds if kind in SHOWN_SLICES):
        tables.append(_slice_table(kind, [row for row in rows if slice_of(row).partition("=")[0] == kind]))
    return _draw(*tables, width=width)


def _draw(*tables: Table, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, markup=False, emoji=False, highlight=False)
    for table in tables:
        console.print(table)
    return stream.getvalue()


def _whole_table(rows: Sequence[ScoreboardRow]) -> Table:
    table = Table(title="scoreboard", title_justify="left")
    for name in ("stage", "judge", "dataset"):
        table.add_column(name, no_wrap=True)
    for name in ("pairs", "accuracy", "interval", "log loss", "ece", "flips", "seen"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        interval = f"{row['accuracy_low']:.3f}-{row['accuracy_high']:.3f}"
        numbers = (f"{row['accuracy']:.3f}", interval, f"{row['log_loss']:.3f}", f"{row['ece']:.3f}")
        flips = "" if row["flip_rate"] is None else f"{row['flip_rate']:.3f}"
        seen = "yes" if row["seen_in_training"] else ""
        table.add_row(row["stage"], row["judge"], row["dataset"], str(row["num_pairs"]), *numbers, flips, seen)
    return table


def _slice_table(kind: str, rows: Sequence[ScoreboardRow]) -> Table:
    """A row a judge, a column a slice: the largest slices, as many as fit."""
    title = "accuracy by flaw, against a sound answer" if kind == "flaw" else f"accuracy by {kind}"
    table = Table(title=title, title_justify="left")
    table.add_column("judge", no_wrap=True)
    table.add_column("dataset", no_wrap=True)
    sizes: dict[str, int] = {}
    lines: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        name = row["judge"] if row["stage"] == BASELINE_STAGE else f"{row['stage']}.{row['judge']}"
        value = slice_of(row).partition("=")[2].removesuffix(f" vs {SOUND}")
        sizes[value] = max(sizes.get(value, 0), row["num_pairs"])
        lines.setdefault((name, _whole_of(row)), {})[value] = row["accuracy"]
    shown = sorted(sizes, key=lambda value: -sizes[value])[:MAX_SLICES]
    for value in shown:
        table.add_column(value, justify="right")
    for (name, dataset), accuracies in lines.items():
        table.add_row(name, dataset, *(f"{accuracies[value]:.3f}" if value in accuracies else "" for value in shown))
    return table


def _whole_of(row: ScoreboardRow) -> str:
    return row["dataset"].removesuffix(slice_of(row)).strip()


def render_comparisons(comparisons: Sequence[Mapping[str, Any]], *, width: int = 160) -> str:
    """Draw paired tests for people; nothing where there are none."""
    if not comparisons:
        return ""
    table = Table(title="paired on the held-out fold", title_justify="left")
    for name in ("judge", "against"):
        table.add_column(name, no_wrap=True)
    for name in ("difference", "interval", "only judge right", "only other right", "p (McNemar)"):
        table.add_column(name, justify="right")
    for row in comparisons:
        interval = f"{row['difference_low']:+.3f} to {row['difference_high']:+.3f}"
        counts = (str(row["num_first_better"]), str(row["num_second_better"]))
        table.add_row(
            row["first"], row["second"], f"{row['difference']:+.3f}", interval, *counts, f"{row['p_value']:.3f}"
        )
    return _draw(table, width=width)
