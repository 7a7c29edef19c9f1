"""Nodes grouped into stages and judges, as ``kedro status`` shows them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from wsdm_arena.freshness.progress import Progress, find_progress
from wsdm_arena.freshness.states import NodeState, State
from wsdm_arena.runs.ledger import NodeRecord

_SEVERITY = (State.FRESH, State.WAITING, State.STALE, State.MISSING)
_RECIPE = (
    "data_processing",
    "backbone",
    "teacher",
    "collected_labels",
    "student",
    "pair_generation",
    "generated_labels",
    "pretraining",
    "final",
    "final_held_out",
    "export.student",
    "export.final",
    "submission.student",
    "submission.final",
    "reporting",
)
"""Order in which people think of the stages; the order of execution is one of many that the edges allow."""
_WITHOUT_NAMESPACE = ("data_processing", "pair_generation", "reporting")
"""Tags that group the nodes which have no namespace."""


@dataclass(frozen=True)
class Group:
    """Nodes of one stage and judge, or of one stage where it is not about a judge."""

    stage: str
    judge: str | None
    states: tuple[NodeState, ...]
    progress: Progress | None
    """Of a training that was stopped and would go on."""

    @property
    def state(self) -> State:
        """The worst of its nodes'."""
        return max((node.state for node in self.states), key=_SEVERITY.index)

    @property
    def label(self) -> str:
        """The state as the table shows it."""
        if self.progress is not None:
            return f"partial {self.progress.updates}/{self.progress.all_updates}"
        return self.state.value

    @property
    def records(self) -> list[NodeRecord]:
        """Last completed runs of its nodes."""
        return [node.record for node in self.states if node.record is not None]

    @property
    def made(self) -> str | None:
        """When its last node ended, ISO 8601; None if none ever has."""
        return max((record.time for record in self.records), default=None)

    @property
    def seconds(self) -> float:
        """What its nodes took when they last ran."""
        return sum(record.seconds for record in self.records)

    @property
    def size(self) -> int:
        """Bytes of what its nodes have made; hard links count in full."""
        return sum(stored.size for record in self.records for stored in record.outputs.values())

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Node and reason, of nodes that are not merely behind others."""
        pending = (node for node in self.states if node.state in (State.STALE, State.MISSING))
        return [(node.node, reason) for node in pending for reason in node.reasons]


def group_nodes(pipeline: Pipeline, states: Mapping[str, NodeState], catalog: DataCatalog) -> list[Group]:
    """Put the nodes of each stage and judge together, in the recipe's order."""
    nodes: dict[tuple[str, str | None], list[Node]] = {}
    for node in pipeline.nodes:
        nodes.setdefault(stage_and_judge(node), []).append(node)
    return [
        Group(stage, judge, tuple(states[node.name] for node in members), _progress(members, states, catalog))
        for (stage, judge), members in sorted(nodes.items(), key=lambda item: _place(item[0][0]))
    ]


def _place(stage: str) -> int:
    return _RECIPE.index(stage) if stage in _RECIPE else len(_RECIPE)


def stage_and_judge(node: Node) -> tuple[str, str | None]:
    """``("teacher", "gemma")`` of a node in namespace ``teacher.gemma``; ``("submission.final", None)`` of others."""
    if node.namespace is None:
        tag = next((tag for tag in _WITHOUT_NAMESPACE if tag in node.tags), "other")
        return tag, None
    if node.namespace == "backbone":
        return "backbone", node.name.removeprefix("backbone.")
    if node.namespace in ("baseline", "report"):
        return "reporting", None
    stage, _, last = node.namespace.rpartition(".")
    if stage and last in node.tags and not node.namespace.startswith("submission."):
        return stage, last
    return node.namespace, None


def _progress(members: Iterable[Node], states: Mapping[str, NodeState], catalog: DataCatalog) -> Progress | None:
    """Of the stage's training, on the inputs that are there now; if these change first, another one will run."""
    pending = (node for node in members if states[node.name].state is not State.FRESH)
    return next((progress for node in pending if (progress := find_progress(node, catalog))), None)
