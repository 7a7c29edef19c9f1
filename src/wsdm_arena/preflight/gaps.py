"""Selections that would train or judge on what is out of date."""

from collections.abc import Sequence

from kedro.framework.project import pipelines

from wsdm_arena.freshness.selection import find_gap, find_outdated_inputs, last_nodes
from wsdm_arena.freshness.states import NodeState
from wsdm_arena.preflight.command import shared_options
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.runs.entry_names import untranscoded
from wsdm_arena.runs.excerpts import count_more, show_first

_SHOWN = 5
_MOST_LAST_NODES = 6


def check_gap(run: PlannedRun) -> list[str]:
    """Refuse a selection with a hole in it: what lies behind the hole would be run on older results.

    A hole of nodes that are up to date, and stay so, is none.
    """
    whole = pipelines["__default__"]
    if not _is_part(run):
        return []
    gap = find_gap(whole, run.pipeline, run.states)
    if not gap:
        return []
    return [*_describe(gap), f"select them, too, or bring everything up to date: {_cure(run)}"]


def check_outdated_inputs(run: PlannedRun) -> list[str]:
    """Refuse a selection whose inputs the ledger knows to be out of date; whoever names versions means these."""
    if not _is_part(run) or run.options.get("load_versions") or not run.names:
        return []
    outdated = find_outdated_inputs(pipelines["__default__"], run.pipeline, run.states)
    if not outdated:
        return []
    return [*_describe(outdated), f"run them first: {_cure(run)}"]


def check_pinned_versions(run: PlannedRun) -> list[str]:
    """Refuse versions of entries that the selected nodes make: what is loaded would not be what is saved."""
    made = {untranscoded(name) for name in run.pipeline.all_outputs()}
    pinned = sorted(name for name in run.options.get("load_versions") or {} if untranscoded(name) in made)
    return [
        f"--load-versions {name}: the selected nodes make it anew; select only nodes behind it "
        f"(--from-inputs {name}), or leave its version out"
        for name in pinned
    ]


def _is_part(run: PlannedRun) -> bool:
    """Whether the selection is a part of the whole, and how things stand with the whole is known."""
    whole = {node.name for node in pipelines["__default__"].nodes}
    return run.selected <= whole <= run.states.keys()


def _describe(states: Sequence[NodeState]) -> list[str]:
    """A line for each of the first few, and one for the rest."""
    lines = [f"{state.node}: {show_first(state.reasons, 2, separator='; ')}" for state in states[:_SHOWN]]
    return lines if len(states) <= _SHOWN else [*lines, count_more(len(states) - _SHOWN, "node")]


def _cure(run: PlannedRun) -> str:
    """The command that runs the selection and whatever it needs."""
    ends = last_nodes(run.pipeline)
    to_nodes = f" --to-nodes {','.join(ends)}" if len(ends) <= _MOST_LAST_NODES else ""
    options = shared_options(run.options)
    return f"kedro run{to_nodes}{' ' + options if options else ''}"
