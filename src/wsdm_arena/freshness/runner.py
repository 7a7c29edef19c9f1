"""The runner of ``kedro run``: it runs what is not up to date, and notes in the ledger what it did."""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol, DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner, Task
from pluggy import PluginManager

from wsdm_arena import __version__
from wsdm_arena.freshness.node_work import describe_stored
from wsdm_arena.freshness.restore import restore_outputs
from wsdm_arena.freshness.states import Freshness, NodeState, State
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.ledger import Ledger, NodeRecord
from wsdm_arena.runs.work import Work, collecting_work

logger = logging.getLogger(__name__)

_SHOWN_REASONS = 3


@dataclass(frozen=True)
class Provenance:
    """What the ledger says of a whole run."""

    env: str
    command: str
    git_commit: str | None


class UpToDateRunner(SequentialRunner):
    """Brings a pipeline up to date: nodes whose last run was on the same contents, parameters and code are skipped.

    Each node is judged when its turn comes, on what the nodes before it have left: one that was made anew but came out
    as it was before makes nothing behind it run again.

    Args:
        data_root: Whose ledger is kept; the caller holds its lock.
        git_commit: Of the code, for the ledger.
    """

    def __init__(self, data_root: Path, git_commit: str | None = None) -> None:
        super().__init__()
        self._ledger = Ledger.of(data_root)
        self._cache = DigestCache.of(data_root)
        self._git_commit = git_commit

    def __repr__(self) -> str:
        # Kedro-Viz draws the run on the flowchart only if it reads here that the nodes ran one after another.
        return "<kedro.runner.sequential_runner.SequentialRunner object that runs what is not up to date>"

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        assert isinstance(catalog, DataCatalog)
        assert hook_manager is not None
        told = catalog.load("run_context")
        provenance = Provenance(told["env"], told["command"], self._git_commit)
        freshness = Freshness(catalog, self._ledger.done(), self._cache)
        ran: list[str] = []
        restored: list[str] = []
        try:
            for number, node in enumerate(pipeline.nodes, start=1):
                state = freshness.examine(node)
                if state.state is State.FRESH:
                    logger.debug("%s is up to date", node.name)
                    self._ledger.append(_fresh_record(state, run_id or "", provenance))
                    continue
                logger.info("%s (%d of %d): %s", node.name, number, len(pipeline.nodes), _shown_reasons(state))
                earlier = freshness.find_equal(state)
                if earlier is not None and restore_outputs(node, earlier, catalog, self._cache):
                    logger.info("%s: what run %s made of just this is taken again", node.name, earlier.run_id)
                    self._note_restored(node, state, earlier, catalog, run_id or "", provenance)
                    restored.append(node.name)
                    continue
                self._run_node(node, state, catalog, hook_manager, run_id or "", provenance)
                ran.append(node.name)
        finally:
            self._cache.save()
        _report(len(ran), len(restored), len(pipeline.nodes))

    def _run_node(
        self,
        node: Node,
        state: NodeState,
        catalog: DataCatalog,
        hook_manager: PluginManager,
        run_id: str,
        provenance: Provenance,
    ) -> None:
        began = time.monotonic()
        common = _common(state, run_id, provenance)
        work: list[Work] = []
        try:
            with collecting_work() as work:
                Task(node=node, catalog=catalog, is_async=False, hook_manager=hook_manager, run_id=run_id).execute()
        except BaseException as error:
            failed = _record(state, "failed", time.monotonic() - began, work, common)
            self._ledger.append(failed.model_copy(update={"error": f"{type(error).__name__}: {error}"[:2_000]}))
            raise
        # Inputs are what was there before: a node that is stopped in the middle must not seem to have read later ones.
        outputs = describe_stored(node.outputs, catalog, self._cache)
        done = _record(state, "done", time.monotonic() - began, work, common)
        self._ledger.append(done.model_copy(update={"outputs": outputs}))

    def _note_restored(
        self,
        node: Node,
        state: NodeState,
        earlier: NodeRecord,
        catalog: DataCatalog,
        run_id: str,
        provenance: Provenance,
    ) -> None:
        common = _common(state, run_id, provenance)
        record = _record(state, "done", 0.0, list(earlier.work), common)
        outputs = describe_stored(node.outputs, catalog, self._cache)
        self._ledger.append(record.model_copy(update={"outputs": outputs, "taken_from": earlier.run_id}))


def _common(state: NodeState, run_id: str, provenance: Provenance) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "node": state.node,
        "reasons": state.reasons,
        "env": provenance.env,
        "command": provenance.command,
        "git_commit": provenance.git_commit,
        "package_version": __version__,
    }


def _record(state: NodeState, outcome: str, seconds: float, work: list[Work], common: dict[str, Any]) -> NodeRecord:
    return NodeRecord.model_validate(
        {
            **common,
            "outcome": outcome,
            "fingerprint": state.work.fingerprint,
            "code_format": state.work.code_format,
            "parameters": state.work.parameters,
            "inputs": state.work.inputs,
            "work": tuple(work),
            "seconds": round(seconds, 3),
            "time": _now(),
        }
    )


def _fresh_record(state: NodeState, run_id: str, provenance: Provenance) -> NodeRecord:
    return NodeRecord(
        run_id=run_id,
        node=state.node,
        outcome="fresh",
        fingerprint=state.work.fingerprint,
        time=_now(),
        env=provenance.env,
        command=provenance.command,
        git_commit=provenance.git_commit,
        package_version=__version__,
    )


def _report(num_ran: int, num_restored: int, num_nodes: int) -> None:
    if not num_ran and not num_restored:
        logger.info("Everything is up to date: none of %d nodes had to run.", num_nodes)
        return
    again = f", {num_restored} took again what an earlier run had made" if num_restored else ""
    logger.info("%d of %d nodes had to run%s; the others were up to date.", num_ran, num_nodes, again)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _shown_reasons(state: NodeState) -> str:
    more = len(state.reasons) - _SHOWN_REASONS
    return "; ".join(state.reasons[:_SHOWN_REASONS]) + (f"; and {more} more" if more > 0 else "")
