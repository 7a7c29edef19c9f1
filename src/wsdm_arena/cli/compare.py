"""``kedro compare``: in what two runs differ."""

from dataclasses import asdict
from typing import Any

import click

from wsdm_arena.cli.comparison import compare_runs
from wsdm_arena.cli.comparison_tables import show_comparison, show_runs
from wsdm_arena.cli.console import print_json
from wsdm_arena.cli.entries import entry_paths, names_of
from wsdm_arena.cli.project import json_option, open_project, project_options
from wsdm_arena.runs.history import LATEST, find_run, list_runs
from wsdm_arena.runs.ledger import Ledger

_HELP = """Say in what two runs differ: parameters, code, data, scores, and a paired test of every judge that changed.

RUN is a run's id or the beginning of one, "latest" or "previous". Each run stands for all that was up to date when it
ended. One RUN is compared with the latest; without any, all runs are listed.

\b
kedro compare                        all runs, with their ids
kedro compare previous               the run before the latest, against the latest
kedro compare 2026-11-21 latest      the run whose id begins so
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw


@click.command(name="compare", help=_HELP, short_help="Say in what two runs differ.")
@click.argument("runs", nargs=-1, metavar="[RUN [RUN]]")
@json_option("one JSON document, with every slice of every dataset, too")
@project_options
def compare(runs: tuple[str, ...], as_json: bool, env: str | None, params: dict[str, Any]) -> None:
    """List runs, or compare two."""
    if len(runs) > 2:
        raise click.UsageError("two runs can be compared, not more")
    with open_project(env, params) as project:
        records = Ledger.of(project.data_root).records()
        known = list_runs(records)
        if not runs:
            print_json([asdict(run) for run in known]) if as_json else show_runs(known, project.data_root)
            return
        old, new = (find_run(known, name) for name in (runs if len(runs) == 2 else (*runs, LATEST)))
        paths = entry_paths(project.catalog, names_of(project.pipeline, records))
        comparison = compare_runs(old, new, records, paths, project.config.reporting.confidence)
    if as_json:
        print_json(asdict(comparison))
    else:
        show_comparison(comparison)
