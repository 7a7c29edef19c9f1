"""What ``kedro compare`` prints for people."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from wsdm_arena.cli.comparison import Comparison
from wsdm_arena.cli.console import wide_console
from wsdm_arena.runs.excerpts import show_first, show_value
from wsdm_arena.runs.history import Difference, Run
from wsdm_arena.runs.ledger import Stored
from wsdm_arena.runs.sizes import show_bytes
from wsdm_arena.scoring.run_comparisons import ScoreChange

_SHOWN_NODES = 4
_ABSENT = "-"


def show_runs(runs: Sequence[Run], data_root: Path) -> None:
    """List runs, the last one last."""
    console = wide_console()
    if not runs:
        console.print(f"{data_root}: nothing has been run here yet.")
        return
    table = _table("runs", "run", "env", "code", "command")
    for name in ("ran", "taken again", "fresh", "failed", "seconds"):
        table.add_column(name, justify="right")
    for run in runs:
        counts = (run.num_done, run.num_taken, run.num_fresh, run.num_failed)
        table.add_row(
            run.run_id, run.env, _commit(run), run.command, *(str(count) for count in counts), f"{run.seconds:.0f}"
        )
    console.print(table)


def show_comparison(comparison: Comparison) -> None:
    """Print what differs, a table a kind; what does not is left out."""
    console = wide_console()
    for table in _tables(comparison):
        console.print(table)
    for names, run in ((comparison.nodes_gone, comparison.old), (comparison.nodes_added, comparison.new)):
        if names:
            console.print(f"only as of {run.run_id}: {len(names)} nodes, of {_shown_nodes(names)}")
    for remark in comparison.remarks:
        console.print(f"not compared: {remark}")
    if not comparison.has_differences:
        console.print("Nothing differs: parameters, formats of the code, data and results are the same.")


def _tables(comparison: Comparison) -> Iterator[Table]:
    yield _runs_table(comparison.old, comparison.new)
    if comparison.parameters:
        yield _differences_table("parameters", "parameter", comparison.parameters)
    if comparison.code:
        yield _differences_table("formats of the code", "node", comparison.code)
    if comparison.data:
        yield _differences_table("data that were read", "entry", comparison.data)
    if whole := [change for change in comparison.scores if not change.slice]:
        yield _scores_table(whole, comparison)
    if comparison.judges:
        yield _judges_table(comparison)


def _runs_table(old: Run, new: Run) -> Table:
    table = _table("runs", "", old.run_id, new.run_id)
    rows = {
        "ended": (old.ended, new.ended),
        "command": (old.command, new.command),
        "env": (old.env, new.env),
        "code": (_commit(old), _commit(new)),
        "version": (old.package_version, new.package_version),
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _differences_table(title: str, what: str, differences: Sequence[Difference]) -> Table:
    table = _table(title, what, "old", "new", "nodes")
    for change in differences:
        table.add_row(change.name, _shown(change.old), _shown(change.new), _shown_nodes(change.nodes))
    return table


def _scores_table(changes: Sequence[ScoreChange], comparison: Comparison) -> Table:
    num_slices = len(comparison.scores) - len(changes)
    slices = f"; {num_slices} slices of them differ, too (--json)" if num_slices else ""
    table = _table(f"scores that differ{slices}", "judge", "dataset")
    for name in ("accuracy", "", "log loss", " ", "ece", "  "):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remark")
    for change in changes:
        figures = [text for key in ("accuracy", "log_loss", "ece") for text in _figures(change, key)]
        table.add_row(f"{change.stage}.{change.judge}", change.dataset, *figures, _remark(change))
    return table


def _figures(change: ScoreChange, key: str) -> tuple[str, str]:
    """``0.700 -> 0.710`` and ``+0.010``."""
    old, new = (None if row is None else row[key] for row in (change.old, change.new))  # type: ignore[literal-required]
    shown = " -> ".join(_ABSENT if value is None else f"{value:.3f}" for value in (old, new))
    return shown, "" if old is None or new is None else f"{new - old:+.3f}"


def _remark(change: ScoreChange) -> str:
    if change.old is None:
        return "new"
    if change.new is None:
        return "gone"
    return "" if change.is_of_same_battles else "other battles or votes"


def _judges_table(comparison: Comparison) -> Table:
    table = _table("the same judge in both runs, on the battles that both have read", "judge")
    for name in ("battles", "new - old", "interval", "only new right", "only old right", "p (McNemar)"):
        table.add_column(name, justify="right", no_wrap=True)
    for judge, tested in comparison.judges.items():
        low, high = tested["difference_low"], tested["difference_high"]
        interval = "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
        counts = (str(tested["num_first_better"]), str(tested["num_second_better"]))
        table.add_row(
            judge,
            str(tested["num_battles"]),
            f"{tested['difference']:+.3f}",
            interval,
            *counts,
            f"{tested['p_value']:.3f}",
        )
    return table


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, Stored):
        return value.digest if value.digest == "absent" else f"{value.digest} ({show_bytes(value.size)})"
    return show_value(value)


def _shown_nodes(nodes: Sequence[str]) -> str:
    """Nodes by namespace: those of one judge have most parameters in common."""
    groups = list(dict.fromkeys(node.rpartition(".")[0] or node for node in nodes))
    return show_first(groups, _SHOWN_NODES)


def _commit(run: Run) -> str:
    commit, dash, dirty = (run.git_commit or "unknown").partition("-")
    return commit[:10] + dash + dirty


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
