"""Which nodes are up to date, and why the others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from wsdm_arena.freshness.changes import explain_changes
from wsdm_arena.freshness.node_work import ABSENT, NodeWork, describe_stored, describe_work
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.excerpts import show_first
from wsdm_arena.runs.ledger import NodeRecord


class State(StrEnum):
    """Of a node."""

    FRESH = "fresh"
    """It ran on just this, and what it made is as it left it."""
    STALE = "stale"
    """What it depends on, or what it made, has changed since."""
    MISSING = "missing"
    """It has never run here, or what it made is gone."""
    WAITING = "waiting"
    """Up to date but for nodes before it that are not: whether it must run shows when these have."""


@dataclass(frozen=True)
class NodeState:
    """How things stand with one node."""

    node: str
    state: State
    reasons: tuple[str, ...]
    """Why it is not fresh, one line each."""
    work: NodeWork
    """What it would be run on."""
    record: NodeRecord | None
    """Its last completed run."""


class Freshness:
    """Compares the ledger with what is on disk and in the configuration.

    Args:
        catalog: Of the environment.
        history: By node, its ``done`` records, see :meth:`~wsdm_arena.runs.ledger.Ledger.done`.
        cache: Of digests.
    """

    def __init__(self, catalog: DataCatalog, history: Mapping[str, Sequence[NodeRecord]], cache: DigestCache) -> None:
        self._catalog = catalog
        self._history = history
        self.cache = cache

    def examine(self, node: Node) -> NodeState:
        """Judge one node by itself: what comes before it is taken as it is."""
        work = describe_work(node, self._catalog, self.cache)
        history = self._history.get(node.name)
        if not history:
            return NodeState(node.name, State.MISSING, ("it has not been run here, or was forgotten",), work, None)
        record = history[-1]
        outputs = describe_stored(node.outputs, self._catalog, self.cache)
        if gone := sorted(name for name, stored in outputs.items() if stored == ABSENT):
            return NodeState(node.name, State.MISSING, tuple(f"{name} is gone" for name in gone), work, record)
        reasons = explain_changes(record, work, outputs)
        if any(done.outcome == "incomplete" for done in record.work):
            reasons = (*reasons, "something was missing when it last ran, and is tried again")
        return NodeState(node.name, State.STALE if reasons else State.FRESH, reasons, work, record)

    def find_equal(self, state: NodeState) -> NodeRecord | None:
        """The newest earlier run of a node on just what it would be run on now; None if there was none."""
        wanted = state.work.fingerprint
        history = self._history.get(state.node, ())
        complete = (record for record in reversed(history) if all(done.outcome != "incomplete" for done in record.work))
        return next((record for record in complete if record.fingerprint == wanted), None)

    def survey(self, pipeline: Pipeline) -> dict[str, NodeState]:
        """Judge every node of a pipeline, those before it first; fresh nodes behind others that are not are waiting."""
        states: dict[str, NodeState] = {}
        parents = {node.name: {parent.name for parent in found} for node, found in pipeline.node_dependencies.items()}
        for node in pipeline.nodes:
            state = self.examine(node)
            pending = sorted(name for name in parents[node.name] if states[name].state is not State.FRESH)
            if state.state is State.FRESH and pending:
                state = replace(state, state=State.WAITING, reasons=(f"{show_first(pending, 3)} must run first",))
            states[node.name] = state
        return states
