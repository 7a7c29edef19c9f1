"""The scoreboard as a table for people."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from wsdm_arena.scoring.scoreboard import BASELINE_STAGE, SOUND, ScoreboardRow, slice_of


def render_scoreboard(rows: Sequence[ScoreboardRow], *, width: int = 132) -> str:
    """Draw the scoreboard for people: whole datasets in full, their slices as accuracies side by side.

    Args:
        rows: Of any stages and judges.
        width: Characters a line.
    """
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, markup=False, emoji=False, highlight=False)
    console.print(_whole_table([row for row in rows if not slice_of(row)]))
    kinds = dict.fromkeys(slice_of(row).partition("=")[0] for row in rows if slice_of(row))
    for kind in kinds:
        console.print(_slice_table(kind, [row for row in rows if slice_of(row).partition("=")[0] == kind]))
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
    title = "accuracy by flaw, against a sound answer" if kind == "flaw" else f"accuracy by {kind}"
    table = Table(title=title, title_justify="left")
    table.add_column(kind, no_wrap=True)
    table.add_column("pairs", justify="right")
    judges = list(dict.fromkeys((row["stage"], row["judge"]) for row in rows))
    for stage, judge in judges:
        table.add_column(judge if stage == BASELINE_STAGE else f"{stage}.{judge}", justify="right")
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        cells = {(row["stage"], row["judge"]): row for row in rows if row["dataset"] == dataset}
        accuracies = [f"{cells[judge]['accuracy']:.3f}" if judge in cells else "" for judge in judges]
        first = next(iter(cells.values()))
        value = slice_of(first).partition("=")[2].removesuffix(f" vs {SOUND}")
        table.add_row(value, str(first["num_pairs"]), *accuracies)
    return table
