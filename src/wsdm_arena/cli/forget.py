"""``kedro forget``: have nodes run again although nothing has changed."""

from typing import Any

import click
from kedro.pipeline.node import Node

from wsdm_arena import __version__
from wsdm_arena.cli.console import count
from wsdm_arena.cli.project import open_project, project_options
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.ledger import Ledger, NodeRecord

_HELP = """Have NAMES run again at the next kedro run, although nothing has changed.

NAMES are nodes (build_scoreboard, teacher.gemma.train), namespaces (teacher.gemma) or tags (reporting), as kedro
status --json and Kedro-Viz name them. What depends on them runs again only if they come out differently.

Nothing is deleted: a training that is complete is found in its run directory and taken again. To train anew, delete
that directory, too: <data_root>/06_models/.runs/<stage>.<judge>/<fingerprint>, which the log of the run names.

\b
kedro forget reporting               the scoreboard and what is beside it
kedro forget teacher.gemma           one judge of one stage
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw


@click.command(help=_HELP, short_help="Have nodes run again although nothing has changed.")
@click.argument("names", nargs=-1, required=True)
@project_options
def forget(names: tuple[str, ...], env: str | None, params: dict[str, Any]) -> None:
    """Write lines into the ledger that call nodes forgotten."""
    with open_project(env, params) as project:
        nodes = {node.name: node for name in names for node in _find(name, project.pipeline.nodes)}
        ledger = Ledger.of(project.data_root)
        known = ledger.latest()
        forgotten = [name for name in nodes if name in known]
        if not forgotten:
            click.echo(
                f"Nothing to forget: {', '.join(names)} names {count(len(nodes), 'node')}, but none has run in "
                f"{project.data_root} since it was last forgotten."
            )
            return
        try:
            with lock_directory(project.data_root, wait_s=0):
                for name in forgotten:
                    ledger.append(_forgotten(known[name]))
        except OSError as error:
            raise click.ClickException(f"{ledger.path} cannot be written: {error}") from None
        click.echo(f"{count(len(forgotten), 'node')} will run again: {', '.join(sorted(forgotten))}")
        if never := sorted(nodes.keys() - known.keys()):
            click.echo(f"{count(len(never), 'node')} had not run anyway: {', '.join(never)}")


def _find(name: str, nodes: list[Node]) -> list[Node]:
    found = [
        node
        for node in nodes
        if name == node.name or name in node.tags or (node.namespace and f"{node.namespace}.".startswith(f"{name}."))
    ]
    if not found:
        known = sorted({node.namespace or node.name for node in nodes})
        raise click.UsageError(f"there is no node, namespace or tag {name!r}; known: {', '.join(known)}")
    return found


def _forgotten(record: NodeRecord) -> NodeRecord:
    return NodeRecord(
        run_id=record.run_id,
        node=record.node,
        outcome="forgotten",
        fingerprint=record.fingerprint,
        command="kedro forget",
        package_version=__version__,
    )
