"""Runs as the ledger tells of them: which there were, what stood after each, and in what two of them differ."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wsdm_arena.errors import UserError
from wsdm_arena.runs.excerpts import leaves
from wsdm_arena.runs.ledger import NodeRecord, Stored

LATEST, PREVIOUS = "latest", "previous"
"""Names of the last run and of the one before it."""
NodesAsOf = Mapping[str, NodeRecord]
"""By node, its last completed run as of some moment."""


class UnknownRunError(UserError, ValueError):
    """The ledger does not tell of a run of this name, or of several."""


@dataclass(frozen=True)
class Run:
    """One ``kedro run``."""

    run_id: str
    began: str
    """When its first node ended, ISO 8601."""
    ended: str
    """When its last node ended."""
    command: str
    env: str
    git_commit: str | None
    package_version: str
    num_done: int
    """Nodes that ran."""
    num_taken: int
    """Nodes of which it took again what an earlier run had made."""
    num_fresh: int
    num_failed: int
    seconds: float
    """Of all nodes together."""


@dataclass(frozen=True)
class Difference:
    """Something of which two states say different things; None where one of them has none."""

    name: str
    old: Any
    new: Any
    nodes: tuple[str, ...]
    """That say so."""


def list_runs(records: Sequence[NodeRecord]) -> list[Run]:
    """All runs in the order of the ledger, whatever clocks said."""
    by_run: dict[str, list[NodeRecord]] = {}
    for record in _of_runs(records):
        by_run.setdefault(record.run_id, []).append(record)
    return [_summarize(run_id, lines) for run_id, lines in by_run.items()]


def find_run(runs: Sequence[Run], name: str) -> Run:
    """Find a run by its id, the beginning of it, ``latest`` or ``previous``.

    Raises:
        UnknownRunError: There is none or there are several.
    """
    if not runs:
        raise UnknownRunError("the ledger is empty: nothing has been run here yet")
    if name in (LATEST, PREVIOUS):
        position = -1 if name == LATEST else -2
        if len(runs) < -position:
            raise UnknownRunError(f"there is no previous run: the ledger tells of one only, {runs[0].run_id}")
        return runs[position]
    exact = [run for run in runs if run.run_id == name]
    found = exact or [run for run in runs if name and run.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownRunError(f"there is no run {name!r}; `kedro compare` lists all. The last is {runs[-1].run_id}")
    shown = ", ".join(run.run_id for run in found[:5])
    raise UnknownRunError(f"{name!r} is the beginning of {len(found)} runs, such as {shown}; give more of it")


def state_as_of(records: Sequence[NodeRecord], run_id: str) -> dict[str, NodeRecord]:
    """Last completed run of each node when a run had ended, in the order of the ledger."""
    told = _of_runs(records)
    end = max((number for number, record in enumerate(told) if record.run_id == run_id), default=-1)
    return latest_done(told[: end + 1])


def latest_done(records: Iterable[NodeRecord]) -> dict[str, NodeRecord]:
    """Last completed run of each node, also of those that somebody wants to run again: what it made is still there.

    Whether nodes are up to date is another question, see :meth:`wsdm_arena.runs.ledger.Ledger.latest`.
    """
    return {record.node: record for record in records if record.outcome == "done"}


def _of_runs(records: Sequence[NodeRecord]) -> list[NodeRecord]:
    """What runs have noted; that somebody wants a node to run again is noted between them, under an older run's id."""
    return [record for record in records if record.outcome != "forgotten"]


def outputs_of(state: NodesAsOf) -> dict[str, Stored]:
    """What stood in each entry of the catalog, by name."""
    return {name: stored for record in state.values() for name, stored in record.outputs.items()}


def parameter_differences(old: NodesAsOf, new: NodesAsOf) -> list[Difference]:
    """Parameters that nodes of both states were run with, leaf by leaf: ``training.learning_rate``."""
    return _differences(old, new, _parameter_leaves)


def code_differences(old: NodesAsOf, new: NodesAsOf) -> list[Difference]:
    """Nodes whose code computes something else: the numbers of its formats, by node."""
    return _differences(old, new, lambda record: {record.node: record.code_format})


def data_differences(old: NodesAsOf, new: NodesAsOf) -> list[Difference]:
    """Entries that nodes of both states read and whose contents differed; what was read differs by :class:`Stored`."""
    found = _differences(old, new, lambda record: dict(record.inputs))
    return [change for change in found if _digest(change.old) != _digest(change.new)]


def nodes_of_one(old: NodesAsOf, new: NodesAsOf) -> tuple[list[str], list[str]]:
    """Nodes that only the one, and only the other state knows."""
    return sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())


def _differences(
    old: NodesAsOf, new: NodesAsOf, describe: Callable[[NodeRecord], Mapping[str, Any]]
) -> list[Difference]:
    """Compare what the nodes of both states say; those that say the same are told of together."""
    found: dict[str, list[Difference]] = {}
    for node in sorted(old.keys() & new.keys()):
        before, now = describe(old[node]), describe(new[node])
        for name in sorted(before.keys() | now.keys()):
            change = Difference(name, before.get(name), now.get(name), (node,))
            if not _is_equal(change.old, change.new):
                _add(found.setdefault(name, []), change)
    return [change for name in sorted(found) for change in found[name]]


def _add(told: list[Difference], change: Difference) -> None:
    """Note a difference, or that one more node tells of one that is noted already."""
    for number, known in enumerate(told):
        if _is_equal(known.old, change.old) and _is_equal(known.new, change.new):
            told[number] = replace(known, nodes=known.nodes + change.nodes)
            return
    told.append(change)


def _is_equal(old: Any, new: Any) -> bool:
    """Whether two values are the same in JSON, too: 1 and true are not."""
    return bool(old == new) and type(old) is type(new)


def _parameter_leaves(record: NodeRecord) -> dict[str, Any]:
    return leaves({_short_name(name): value for name, value in record.parameters.items()})


def _short_name(name: str) -> str:
    """``judge`` for what is one judge's: the node says whose, and other judges' may differ in the same."""
    name = name.removeprefix("params:")
    return "judge" if name.startswith("resolved.") else name


def _digest(stored: Stored | None) -> str | None:
    return None if stored is None else stored.digest


def _summarize(run_id: str, lines: Sequence[NodeRecord]) -> Run:
    last = lines[-1]
    done = [line for line in lines if line.outcome == "done"]
    taken = sum(line.taken_from is not None for line in done)
    return Run(
        run_id=run_id,
        began=lines[0].time,
        ended=last.time,
        command=last.command,
        env=last.env,
        git_commit=last.git_commit,
        package_version=last.package_version,
        num_done=len(done) - taken,
        num_taken=taken,
        num_fresh=sum(line.outcome == "fresh" for line in lines),
        num_failed=sum(line.outcome == "failed" for line in lines),
        seconds=sum(line.seconds for line in lines),
    )
