"""``kedro plan``: what a whole run will take, before it is begun."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from wsdm_arena.cli.console import print_json, wide_console
from wsdm_arena.cli.project import Project, json_option, open_project, project_options
from wsdm_arena.freshness.states import Freshness, State
from wsdm_arena.planning import report
from wsdm_arena.planning.inputs import missing_outside
from wsdm_arena.planning.plan import Plan, make_plan
from wsdm_arena.planning.speed import is_on_cpu
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.ledger import Ledger

_HELP = """Show every job with its command, tokens, memory, disk and hours.

No model is loaded and nothing is started. Numbers are counted where a job's tables are on disk, estimated from what
else is there, or taken from the parameters under planning; the mark before a number says which.

\b
result          there: kedro run would not run it again; partial: it goes on; to do: all else
rows            battles, pairs, prompts or conversations
sequences       read with gradients (both orders of a battle), read only, or answers to be written
tokens          of these sequences; of answers, those that are generated
updates         of the weights
scored tokens   of a training's evaluations
GPUs            that are busy, or processes; GiB each: the most memory on each of them
GB left         stays on disk; GB meanwhile: is there only while the job runs
hours           of this job alone; the sums below the table take jobs one after the other

Below the table: trainings that do not fit into a GPU's memory, the commands, and what is missing that no job makes.
Your own speeds go into planning.throughput.measured_tokens_per_s, in conf/local/parameters_planning.yml.

\b
kedro plan --env a100                                          the recipe at full size
kedro plan --env a100 --params launcher.processes_per_node=8   with eight GPUs
kedro plan --env a100 --params planning.device=h200            with others (planning.devices)
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw


@click.command(help=_HELP, short_help="Show what a run takes: tokens, memory, disk, hours.")
@json_option()
@project_options
def plan(env: str | None, params: dict[str, Any], as_json: bool) -> None:
    """Print the plan of what is to be done, and of what is done."""
    with open_project(env, params) as project, _quiet():
        made = make_plan(project.config, project.data_root, pending=_find_pending(project))
        missing = find_missing(project, made)
    if as_json:
        print_json({"env": project.env, **made.to_dict(), "missing": missing})
        return
    _show(wide_console(), project, made, missing)


def _find_pending(project: Project) -> list[str]:
    """Nodes that `kedro status` does not call fresh."""
    cache = DigestCache.of(project.data_root)
    states = Freshness(project.catalog, Ledger.of(project.data_root).done(), cache).survey(project.pipeline)
    cache.save()
    return [name for name, state in states.items() if state.state is not State.FRESH]


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the library's progress messages be: they tell of tokenising a sample, not of the plan."""
    logger = logging.getLogger("wsdm_arena")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def find_missing(project: Project, made: Plan) -> list[str]:
    """What is not on disk and no job makes: raw files, weights of others, keys."""
    lines = []
    for name in sorted(project.pipeline.inputs()):
        if not name.startswith("params:") and name != "parameters":
            describe = getattr(project.catalog[name], "describe_absence", None)
            if describe is not None and (absence := describe()):
                lines.append(f"{name}: {absence}")
    return lines + missing_outside(project.config, made.jobs, project.path)


def _show(console: Console, project: Project, made: Plan, missing: list[str]) -> None:
    is_gpu = not is_on_cpu(project.config)
    table = Table(box=None, pad_edge=False, title=f"plan of env {project.env}", title_justify="left")
    for number, column in enumerate(report.COLUMNS):
        name = column if is_gpu else column.replace("GPUs", "processes")
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=number == 0)
    for job in made.jobs:
        table.add_row(*report.job_cells(job))
    console.print(table)
    console.print(report.LEGEND, soft_wrap=True)
    lines = [*report.totals_lines("all jobs", made.totals, is_gpu=is_gpu)]
    if all(job.state == "there" for job in made.jobs):
        lines.append("nothing is left to be done")
    elif made.left != made.totals:
        lines += report.totals_lines("still to be done", made.left, is_gpu=is_gpu)
    sections = {
        "": lines,
        "memory": report.memory_warnings(made) if is_gpu else [],
        "commands": report.command_lines(made.jobs),
        "missing": missing,
    }
    for title, content in sections.items():
        if content:
            console.print()
        if content and title:
            console.print(f"{title}:")
        for line in content:
            console.print(f"  {line}" if title else line, soft_wrap=True)
