"""What a selection of nodes would leave out of date, or build on although it is."""

from collections.abc import Iterable, Mapping

from kedro.pipeline import Pipeline

from wsdm_arena.freshness.states import NodeState, State
from wsdm_arena.pipeline_registry import convex_hull


def find_gap(whole: Pipeline, selected: Pipeline, states: Mapping[str, NodeState]) -> list[NodeState]:
    """Nodes on a path between two selected ones that are not selected themselves, and are not up to date.

    What lies behind them would be run on what they made of older inputs.

    Args:
        whole: All nodes.
        selected: A part of them.
        states: Of all nodes.
    """
    names = {node.name for node in selected.nodes}
    if len(names) == len(whole.nodes):
        return []
    between = [node.name for node in convex_hull(whole, selected).nodes if node.name not in names]
    return [states[name] for name in between if states[name].state is not State.FRESH]


def find_outdated_inputs(whole: Pipeline, selected: Pipeline, states: Mapping[str, NodeState]) -> list[NodeState]:
    """Nodes before all selected ones of which the ledger knows that they would make something else today.

    Nodes that have never run here are none of them: what they make may have been brought from elsewhere. Nodes between
    selected ones are those of :func:`find_gap`.

    Args:
        whole: All nodes.
        selected: A part of them.
        states: Of all nodes.
    """
    if len(selected.nodes) == len(whole.nodes):
        return []
    within = {node.name for node in convex_hull(whole, selected).nodes}
    needed = whole.to_nodes(*(node.name for node in selected.nodes)).nodes
    before = (node.name for node in needed if node.name not in within)
    return [states[name] for name in before if states[name].state is State.STALE]


def last_nodes(pipeline: Pipeline) -> list[str]:
    """Names of the nodes that no other node of the pipeline follows."""
    parents = {parent.name for found in pipeline.node_dependencies.values() for parent in found}
    return sorted(node.name for node in pipeline.nodes if node.name not in parents)


def pending(states: Iterable[NodeState]) -> frozenset[str]:
    """Names of the nodes that are not up to date."""
    return frozenset(state.node for state in states if state.state is not State.FRESH)
