"""The runner of ``kedro run``: it runs what is not up to date, and notes in the ledger what it did."""

import logging
import time
from pathlib import Path

from kedro.io import CatalogProtocol, DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner, Task
from pluggy import PluginManager

from wsdm_arena.freshness.journal import Journal
from wsdm_arena.freshness.node_work import describe_stored
from wsdm_arena.freshness.restore import restore_outputs
from wsdm_arena.freshness.states import Freshness, NodeState, State
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.excerpts import show_first
from wsdm_arena.runs.ledger import Ledger
from wsdm_arena.runs.work import Work, collecting_work

logger = logging.getLogger(__name__)

_SHOWN_REASONS = 3


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
        self._data_root = data_root
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
        assert run_id is not None
        told, ledger = catalog.load("run_context"), Ledger.of(self._data_root)
        journal = Journal(ledger, run_id, told["env"], told["command"], self._git_commit)
        run = _Run(catalog, hook_manager, journal, Freshness(catalog, ledger.done(), DigestCache.of(self._data_root)))
        try:
            for number, node in enumerate(pipeline.nodes, start=1):
                run.bring_up_to_date(node, f"{number} of {len(pipeline.nodes)}")
        finally:
            run.freshness.cache.save()
        journal.flush()
        run.report(len(pipeline.nodes))


class _Run:
    """One run of a pipeline."""

    def __init__(
        self, catalog: DataCatalog, hook_manager: PluginManager, journal: Journal, freshness: Freshness
    ) -> None:
        self.freshness = freshness
        self._catalog, self._hook_manager, self._journal = catalog, hook_manager, journal
        self._num_ran = self._num_taken = 0

    def bring_up_to_date(self, node: Node, position: str) -> None:
        """Skip a node, take what an earlier run has made of just the same, or run it."""
        state = self.freshness.examine(node)
        if state.state is State.FRESH:
            logger.debug("%s is up to date", node.name)
            self._journal.note_fresh(state)
            return
        logger.info("%s (%s): %s", node.name, position, show_first(state.reasons, _SHOWN_REASONS, separator="; "))
        if self._take_again(node, state):
            self._num_taken += 1
        else:
            self._execute(node, state)
            self._num_ran += 1

    def report(self, num_nodes: int) -> None:
        """Log how many nodes had to run."""
        if not self._num_ran and not self._num_taken:
            logger.info("Everything is up to date: none of %d nodes had to run.", num_nodes)
            return
        again = f", {self._num_taken} took again what an earlier run had made" if self._num_taken else ""
        logger.info("%d of %d nodes had to run%s; the others were up to date.", self._num_ran, num_nodes, again)

    def _take_again(self, node: Node, state: NodeState) -> bool:
        earlier = self.freshness.find_equal(state)
        if earlier is None or not restore_outputs(node, earlier, self._catalog, self.freshness.cache):
            return False
        logger.info("%s: what run %s made of just this is taken again", node.name, earlier.run_id)
        outputs = describe_stored(node.outputs, self._catalog, self.freshness.cache)
        self._journal.note_done(state, outputs, work=earlier.work, seconds=0.0, taken_from=earlier.run_id)
        return True

    def _execute(self, node: Node, state: NodeState) -> None:
        began = time.monotonic()
        work: list[Work] = []
        try:
            with collecting_work() as work:
                Task(
                    node=node,
                    catalog=self._catalog,
                    is_async=False,
                    hook_manager=self._hook_manager,
                    run_id=self._journal.run_id,
                ).execute()
            # What the node has read is described in its state, from before it began: it may have taken hours.
            outputs = describe_stored(node.outputs, self._catalog, self.freshness.cache)
        except BaseException as error:
            self._journal.note_failed(state, error, work=work, seconds=time.monotonic() - began)
            raise
        self._journal.note_done(state, outputs, work=work, seconds=time.monotonic() - began)
