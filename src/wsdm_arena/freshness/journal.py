"""What one run writes into the ledger."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsdm_arena import __version__
from wsdm_arena.freshness.states import NodeState
from wsdm_arena.runs.ledger import Ledger, NodeRecord, Stored
from wsdm_arena.runs.work import Work

logger = logging.getLogger(__name__)

_MAX_ERROR_CHARACTERS = 2_000


@dataclass
class Journal:
    """The lines of one run.

    Attributes:
        ledger: Of the data folder, whose lock the caller holds.
        run_id: Kedro's session id.
        env: Environment that runs.
        command: That repeats the run.
        git_commit: Of the code; None outside a repository.
    """

    ledger: Ledger
    run_id: str
    env: str
    command: str
    git_commit: str | None
    _fresh: list[NodeRecord] = field(default_factory=list)

    def note_fresh(self, state: NodeState) -> None:
        """A node did not have to run; written with the next line, or by :meth:`flush`."""
        self._fresh.append(
            NodeRecord(
                outcome="fresh",
                node=state.node,
                fingerprint=state.work.fingerprint,
                **self._about_the_run(),
            )
        )

    def note_done(
        self,
        state: NodeState,
        outputs: Mapping[str, Stored],
        *,
        work: Sequence[Work],
        seconds: float,
        taken_from: str | None = None,
    ) -> None:
        """A node has run to its end, or its outputs were taken from an earlier run."""
        record = self._record(state, work, seconds)
        self.flush(record.model_copy(update={"outputs": dict(outputs), "taken_from": taken_from}))

    def note_failed(self, state: NodeState, error: BaseException, *, work: Sequence[Work], seconds: float) -> None:
        """A node has raised; that the ledger cannot be written, too, must not hide why."""
        said = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS]
        record = self._record(state, work, seconds).model_copy(update={"outcome": "failed", "error": said})
        try:
            self.flush(record)
        except OSError as disk_error:
            logger.warning("%s cannot be written: %s", self.ledger.path, disk_error)

    def flush(self, *records: NodeRecord) -> None:
        """Write what is not written yet, then these."""
        self.ledger.append(*self._fresh, *records)
        self._fresh.clear()

    def _record(self, state: NodeState, work: Sequence[Work], seconds: float) -> NodeRecord:
        return NodeRecord(
            outcome="done",
            node=state.node,
            fingerprint=state.work.fingerprint,
            reasons=state.reasons,
            code_format=state.work.code_format,
            parameters=state.work.parameters,
            inputs=state.work.inputs,
            wiring=state.work.wiring,
            work=tuple(work),
            seconds=round(seconds, 3),
            **self._about_the_run(),
        )

    def _about_the_run(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "env": self.env,
            "command": self.command,
            "git_commit": self.git_commit,
            "package_version": __version__,
        }
