"""``kedro clean``."""

from collections import Counter
from typing import Any

import click
from rich.table import Table

from wsdm_arena.cli.console import count, print_json, wide_console
from wsdm_arena.cli.entries import entry_paths, names_of
from wsdm_arena.cli.project import Project, json_option, open_project, project_options
from wsdm_arena.errors import UserError
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.cleaning import VERSION, Cleaned, CleaningPlan, CleaningRules, Item, plan_cleaning
from wsdm_arena.runs.cleaning import clean as remove_planned
from wsdm_arena.runs.ledger import Ledger
from wsdm_arena.runs.sizes import show_bytes

_HELP = """List, or with --delete remove, old versions and the work directories that they were made in.

The newest versions of every entry stay, those that the scoreboard cites, and those of each node's last completed run.
Raw data and tables without versions are never touched. What is listed as freed counts files once, however many
versions are links to them.

\b
kedro clean                      what may go; nothing is touched
kedro clean --delete             remove it
kedro clean --keep 1 --partial   also what was left of unfinished trainings
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw


@click.command(name="clean", help=_HELP, short_help="List, or remove, old versions.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Versions of every catalog entry that stay, the newest ones.",
)
@click.option("--delete", is_flag=True, help="Remove what is listed; without it nothing is touched.")
@click.option("--partial", is_flag=True, help="Unfinished trainings and scorings go, too; they start anew then.")
@click.option("--unknown", is_flag=True, help="Work directories that the ledger does not name go, too.")
@click.option("--answers", is_flag=True, help="Answers of models that nothing kept was made of go, too.")
@json_option("one JSON document, with every item that stays, too")
@project_options
def clean(
    keep: int,
    delete: bool,
    partial: bool,
    unknown: bool,
    answers: bool,
    as_json: bool,
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Show what may go, and remove it if asked to."""
    rules = CleaningRules(keep=keep, partial=partial, unknown=unknown, answers=answers)
    with open_project(env, params) as project:
        try:
            plan, done = _clean_locked(project, rules) if delete else (_plan(project, rules), None)
        except OSError as error:
            raise click.ClickException(f"nothing was removed: {error}") from None
    if as_json:
        print_json(_as_json(plan, done))
    else:
        _show(plan, done)
    if done is not None and done.failures:
        raise click.exceptions.Exit(1)


def _plan(project: Project, rules: CleaningRules) -> CleaningPlan:
    records = Ledger.of(project.data_root).records()
    paths = entry_paths(project.catalog, names_of(project.pipeline, records))
    entries = {name: path for name, (path, is_versioned) in paths.items() if is_versioned}
    return plan_cleaning(project.data_root, entries, rules)


def _clean_locked(project: Project, rules: CleaningRules) -> tuple[CleaningPlan, Cleaned | None]:
    if not project.data_root.is_dir():
        return _plan(project, rules), None
    try:
        with lock_directory(project.data_root, wait_s=0):
            plan = _plan(project, rules)  # under the lock, or a run could begin in between
            return plan, remove_planned(plan)
    except UserError as error:
        raise click.ClickException(f"nothing was removed: {error}") from None


def _as_json(plan: CleaningPlan, done: Cleaned | None) -> dict[str, Any]:
    failures = {} if done is None else done.failures
    return {
        "data_root": str(plan.data_root),
        "deleted": done is not None,
        "freed_bytes": plan.freed_bytes if done is None else done.freed_bytes,
        "items": [
            {
                "path": _relative(plan, item),
                "kind": item.kind,
                "removed": item.is_removed,
                "reason": item.reason,
                "needs_attention": item.needs_attention,
                "disk_bytes": item.disk_bytes,
                **({"failure": failures[item.path]} if item.path in failures else {}),
            }
            for item in plan.items
        ],
    }


def _show(plan: CleaningPlan, done: Cleaned | None) -> None:
    console = wide_console()
    versions = [item for item in plan.items if item.kind == VERSION]
    if any(item.is_removed for item in versions):
        console.print(_versions_table(plan, versions))
    if directories := [item for item in plan.removed if item.kind != VERSION]:
        console.print(_directories_table(plan, directories))
    for item in plan.items:
        if item.needs_attention:
            console.print(f"{'goes' if item.is_removed else 'stays'}: {_relative(plan, item)}: {item.reason}")
    console.print(_summary(plan, done))
    for path, failure in {} if done is None else sorted(done.failures.items()):
        console.print(f"still there: {path}: {failure}")


def _versions_table(plan: CleaningPlan, versions: list[Item]) -> Table:
    table = Table(title="versions", title_justify="left")
    table.add_column("entry", overflow="fold")
    for name in ("stay", "go"):
        table.add_column(name, justify="right")
    counts = Counter((str(item.path.parent), item.is_removed) for item in versions)
    for entry in sorted({str(item.path.parent) for item in versions if item.is_removed}):
        shown = entry.removeprefix(f"{plan.data_root}/")
        table.add_row(shown, str(counts[entry, False]), str(counts[entry, True]))
    return table


def _directories_table(plan: CleaningPlan, directories: list[Item]) -> Table:
    table = Table(title="directories that go", title_justify="left")
    table.add_column("directory", overflow="fold")
    table.add_column("holds", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in directories:
        table.add_row(_relative(plan, item), show_bytes(item.disk_bytes), item.reason)
    return table


def _summary(plan: CleaningPlan, done: Cleaned | None) -> str:
    if not plan.removed:
        if any(item.needs_attention for item in plan.items):
            return f"{plan.data_root}: nothing else was found; what is listed stays, for the reason beside it."
        return f"{plan.data_root}: nothing is superseded."
    items = plan.removed if done is None else done.removed
    num_versions = sum(item.kind == VERSION for item in items)
    what = f"{count(num_versions, 'version')} and {count(len(items) - num_versions, 'work directory')}"
    if done is not None:
        return f"{what} removed; that freed {show_bytes(done.freed_bytes)}."
    return f"{what} may go; that frees {show_bytes(plan.freed_bytes)}. Nothing was touched; --delete removes them."


def _relative(plan: CleaningPlan, item: Item) -> str:
    inside = plan.data_root in item.path.parents
    return item.path.relative_to(plan.data_root).as_posix() if inside else str(item.path)
