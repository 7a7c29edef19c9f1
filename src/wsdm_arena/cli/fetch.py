"""``kedro fetch``: the recipe's inputs, from Kaggle and Hugging Face."""

from pathlib import Path
from typing import Any

import click
from kedro.framework.project import settings
from rich.table import Column, Table

from wsdm_arena.cli.console import print_json, wide_console
from wsdm_arena.cli.project import Project, json_option, open_project, project_options
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.fetching import FetchPlan, Outcome, PlannedInput, fetch_inputs, list_inputs, plan_fetch
from wsdm_arena.fetching.fetch import failures
from wsdm_arena.fetching.presence import State
from wsdm_arena.runs.sizes import show_bytes

_HELP = """Fetch the inputs of an environment, or those of NAMES, to where the catalog expects them.

NAMES are inputs (train, test, collected_pairs, conversations ...), judges and answer models; --dry-run lists all of
them with sizes, places and terms. The default environment simulates its inputs: there is nothing to fetch.

Interrupted, the same command goes on. What is there already stays, and is compared with its checksum. Tokens are
taken from the environment (HF_TOKEN; KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY) or the clients' own files.
Revisions and checksums are those of sources.yml, or of the first fetch. Models go to the hub's cache (HF_HOME).

\b
kedro fetch --env a100 --dry-run          what would come, how large it is, what is missing for it
kedro fetch --env a100 train test         some inputs only
kedro fetch --env a100 phi4               one answer model
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw


@click.command(help=_HELP, short_help="Fetch the recipe's inputs.")
@click.argument("names", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched, and what is missing for it.")
@json_option()
@project_options
def fetch(names: tuple[str, ...], dry_run: bool, as_json: bool, env: str | None, params: dict[str, Any]) -> None:
    """Fetch, or say what would be fetched."""
    with open_project(env, params) as project:
        inputs = _list(project, env, params)
        if not inputs:
            raise click.ClickException(
                f"env '{project.env}' simulates its inputs (`kedro run --pipelines simulated_arena` writes them); "
                "those of the recipe are fetched by `kedro fetch --env a100`"
            )
        plan = plan_fetch(inputs, names)
        outcomes = [] if dry_run else fetch_inputs(plan, project.data_root)
        if as_json:
            print_json(_describe(plan, outcomes))
        elif dry_run:
            _print_plan(plan, project)
        else:
            _print_outcomes(outcomes)
    if problems := failures(outcomes):
        raise click.ClickException("\n       ".join(problems))


def _list(project: Project, env: str | None, params: dict[str, Any]) -> list[Any]:
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project.path / settings.CONF_SOURCE),
        env=env,
        runtime_params=params,
        **settings.CONFIG_LOADER_ARGS,
    )
    return list_inputs(
        SourcesConfig.model_validate(loader["sources"]),
        project.config,
        data_root=project.data_root,
        own_files=loader["globals"]["raw"],
        project=project.path,
    )


def _describe(plan: FetchPlan, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "inputs": [_describe_input(planned) for planned in plan.inputs],
        "bytes_to_download": plan.bytes_to_download,
        "disks": [{"folder": str(disk.folder), "free": disk.free, "needed": disk.needed} for disk in plan.disks],
        "outcomes": [
            {"name": each.name, "state": each.state, "message": each.message, "bytes": each.bytes} for each in outcomes
        ],
    }


def _describe_input(planned: PlannedInput) -> dict[str, Any]:
    item = planned.item
    return {
        "name": item.name,
        "what": item.what,
        "hub": item.hub,
        "handle": item.handle,
        "revision": item.revision or (planned.presence.fetched.revision if planned.presence.fetched else None),
        "files": sorted(item.files),
        "bytes": item.bytes,
        "bytes_to_download": planned.bytes_to_download,
        "state": planned.presence.state,
        "detail": planned.presence.detail,
        "place": str(planned.place),
        "licence": item.licence.model_dump(),
        "missing_token": planned.missing_token,
    }


def _print_plan(plan: FetchPlan, project: Project) -> None:
    console = wide_console()
    columns = [Column(header, overflow="fold") for header in ("input", "from", "size", "state", "goes to")]
    table = Table(*columns, title=f"Inputs of env '{project.env}'")
    for planned in plan.inputs:
        presence = planned.presence
        state = f"{presence.state}{': ' if presence.detail else ''}{presence.detail}"
        place = _shorten(planned.place, project.path)
        table.add_row(planned.item.name, _origin(planned), _size(planned.item.bytes), state, place)
    console.print(table)
    unknown = [each.item.name for each in plan.inputs if each.is_wanted and each.bytes_to_download is None]
    left_out = f", and what is of unknown size: {', '.join(unknown)}" if unknown else ""
    click.echo(f"To download: {_size(plan.bytes_to_download)}{left_out}.")
    for disk in plan.disks:
        lack = "" if disk.needed <= disk.free else " That is too little."
        click.echo(f"{disk.folder}: at most {_size(disk.needed)} are needed, {_size(disk.free)} are free.{lack}")
    _print_terms(plan)
    for missing, needed_for in _by_missing_token(plan).items():
        click.echo(f"\n{missing[0].upper()}{missing[1:]}.\n  for {', '.join(needed_for)}")


def _print_terms(plan: FetchPlan) -> None:
    """Each page once; pages on which something has to be accepted first."""
    pages: dict[tuple[bool, str, str], list[str]] = {}
    for planned in plan.inputs:
        if planned.is_wanted:
            licence = planned.item.licence
            pages.setdefault((not licence.accept, licence.url, licence.name), []).append(planned.item.name)
    for accepted, title in ((False, "To be accepted, with the account that the token is of:"), (True, "Other terms:")):
        lines = [f"  {url} ({name}): {', '.join(of)}" for (kind, url, name), of in pages.items() if kind is accepted]
        if lines:
            click.echo("\n".join(["", title, *lines]))


def _by_missing_token(plan: FetchPlan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for planned in plan.inputs:
        if planned.missing_token and planned.presence.state in (State.MISSING, State.PARTIAL):
            found.setdefault(planned.missing_token, []).append(planned.item.name)
    return found


def _print_outcomes(outcomes: list[Outcome]) -> None:
    for each in outcomes:
        if each.message and each.state is not State.BY_HAND:
            continue  # told at the end
        click.echo(f"{each.name}: {each.message or each.state}{f' ({_size(each.bytes)})' if each.bytes else ''}")


def _origin(planned: PlannedInput) -> str:
    item = planned.item
    revision = item.revision or (planned.presence.fetched.revision if planned.presence.fetched else None)
    hub = "Kaggle" if item.at_kaggle else "Hugging Face"
    handle = "" if item.is_model or item.handle is None else f" {item.handle}"
    return f"{hub}{handle}{f' @ {revision[:12]}' if revision else ''}"


def _shorten(place: Path, project: Path) -> str:
    for root, shown in ((project, ""), (Path.home(), "~/")):
        if place.is_relative_to(root):
            return f"{shown}{place.relative_to(root)}"
    return str(place)


def _size(num_bytes: int | None) -> str:
    return "?" if num_bytes is None else show_bytes(num_bytes)
