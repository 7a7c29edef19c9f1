"""``kedro status``: what is up to date, and why the rest is not."""

from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsdm_arena.cli.console import print_json_line, wide_console
from wsdm_arena.cli.project import json_option, open_project, project_options
from wsdm_arena.freshness.overview import Group, group_nodes
from wsdm_arena.freshness.states import Freshness, NodeState, State
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.excerpts import count_more, show_first
from wsdm_arena.runs.ledger import Ledger
from wsdm_arena.runs.sizes import show_bytes

_STYLES = {State.FRESH: "green", State.WAITING: "cyan", State.STALE: "yellow", State.MISSING: "red"}
_SHOWN_CAUSES = 12
_SHOWN_NODES = 2
_HELP = """Show which stages and judges are up to date, and why the others are not.

\b
fresh    ran on what is there now; kedro run will not run it again
stale    a parameter, an input or the code has changed since, or what it made has
partial  a training that was stopped: updates done of all; kedro run goes on with it
waiting  up to date but for stages before it; it runs only if these come out differently
missing  never run in this data folder, or what it made is gone

Nothing is run or changed. --params shows what a kedro run with the same --params would find. Column "whole" is the
work of a stage that belongs to no judge.

\b
kedro status                               the default environment
kedro status --env a100 --all              another one, with every reason
kedro status --params training.epochs=2    what a changed parameter would set in motion
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw


@click.command(help=_HELP, short_help="Show what is up to date, and why the rest is not.")
@click.option("--all", "show_all", is_flag=True, help="Show every reason, not the first dozen.")
@json_option("JSON lines, an object a node")
@project_options
def status(show_all: bool, as_json: bool, env: str | None, params: dict[str, Any]) -> None:
    """Print tables of groups of nodes, or a line a node."""
    with open_project(env, params) as project:
        cache = DigestCache.of(project.data_root)
        freshness = Freshness(project.catalog, Ledger.of(project.data_root).done(), cache)
        states = freshness.survey(project.pipeline)
        cache.save()
        if as_json:
            for state in states.values():
                print_json_line(_describe(state))
            return
        groups = group_nodes(project.pipeline, states, project.catalog)
        console = wide_console()
        console.print(f"{project.data_root} (env {project.env})", soft_wrap=True)
        console.print(_draw(groups))
        _print_causes(console, groups, None if show_all else _SHOWN_CAUSES)


def _describe(state: NodeState) -> dict[str, Any]:
    record = state.record
    return {
        "node": state.node,
        "state": state.state.value,
        "reasons": list(state.reasons),
        "fingerprint": state.work.fingerprint,
        "made": record.time if record else None,
        "run_id": record.run_id if record else None,
        "seconds": record.seconds if record else None,
        "outputs": {name: stored.model_dump() for name, stored in record.outputs.items()} if record else {},
    }


def _draw(groups: list[Group]) -> Table:
    judges = list(dict.fromkeys(group.judge for group in groups if group.judge is not None))
    table = Table()
    table.add_column("stage", no_wrap=True)
    for judge in judges:
        table.add_column(judge, no_wrap=True)
    table.add_column("whole", no_wrap=True)
    table.add_column("last made", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for stage in dict.fromkeys(group.stage for group in groups):
        members = [group for group in groups if group.stage == stage]
        cells = {group.judge: Text(group.label, style=_STYLES[group.state]) for group in members}
        made = max((group.made for group in members if group.made), default=None)
        size = sum(group.size for group in members)
        table.add_row(
            stage,
            *(cells.get(judge, "") for judge in judges),
            cells.get(None, ""),
            f"{datetime.fromisoformat(made).astimezone():%Y-%m-%d %H:%M}" if made else "",
            _duration(sum(group.seconds for group in members)),
            show_bytes(size) if size else "",
        )
    return table


def _print_causes(console: Console, groups: list[Group], limit: int | None) -> None:
    causes: dict[str, list[str]] = {}
    for group in groups:
        for node, reason in group.causes:
            causes.setdefault(reason, []).append(node)
    if not causes:
        console.print("Everything is up to date.")
        return
    for reason, nodes in list(causes.items())[:limit]:
        console.print(f"  {show_first(nodes, _SHOWN_NODES, noun='node')}: {reason}", soft_wrap=True)
    if limit is not None and len(causes) > limit:
        console.print(f"  {count_more(len(causes) - limit, 'reason')}: kedro status --all")
    pending = sum(state.state is not State.FRESH for group in groups for state in group.states)
    total = sum(len(group.states) for group in groups)
    console.print(f"{total - pending} of {total} nodes are up to date. kedro run does the rest.")


def _duration(seconds: float) -> str:
    if not seconds:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
