"""The ledger of a data folder: one JSON line for every node that a run came to.

It is only appended to, and its order is that of its lines, never that of clocks. ``pandas.read_json(path, lines=True)``
reads it.
"""

import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsdm_arena.runs.work import Work

logger = logging.getLogger(__name__)

LEDGER_NAME = "08_reporting/ledger.jsonl"
"""Within the data folder."""
LEDGER_FORMAT = 1


class Stored(BaseModel):
    """A dataset as a node met or left it."""

    model_config = ConfigDict(frozen=True)

    digest: str
    """Of its contents; ``absent`` for an optional one that is not there."""
    version: str | None = None
    """Kedro's, where the entry is versioned."""
    size: int = 0
    """Bytes of its files."""


class NodeRecord(BaseModel):
    """What one run did about one node."""

    model_config = ConfigDict(frozen=True)

    format: int = LEDGER_FORMAT
    run_id: str
    """Kedro's session id, which is also the version of what the run saves."""
    node: str
    """Name with namespace."""
    outcome: Literal["done", "fresh", "failed", "forgotten"]
    """``done``: it ran; ``fresh``: nothing had changed since it last ran, so it did not; ``failed``: it raised;
    ``forgotten``: somebody wants it to run again."""
    fingerprint: str
    """Of everything that the node's result depends on."""
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    """When it ended: ISO 8601, UTC."""
    reasons: tuple[str, ...] = ()
    """Why it was run."""
    code_format: str = "1"
    """Numbers of the code's version, see :func:`wsdm_arena.runs.formats.result_format`."""
    parameters: dict[str, Any] = {}
    """What of its parameters its result depends on, by ``params:`` name."""
    inputs: dict[str, Stored] = {}
    """By catalog name."""
    wiring: tuple[str, ...] = ()
    """``argument=entry`` of every input, in the order of the node's function."""
    outputs: dict[str, Stored] = {}
    """By catalog name."""
    work: tuple[Work, ...] = ()
    """What was made, resumed or reused in directories of its own."""
    taken_from: str | None = None
    """Run whose versions of all outputs were made of just this, so that they were taken again."""
    seconds: float = 0.0
    """Wall-clock time, loading and saving included."""
    error: str | None = None
    """Of a failed node: class and message."""
    env: str = ""
    command: str = ""
    """That repeats the run."""
    git_commit: str | None = None
    package_version: str = ""


class Ledger:
    """The ledger of one data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, data_root: Path) -> "Ledger":
        """That of a data folder; it need not be there."""
        return cls(data_root / LEDGER_NAME)

    def append(self, *records: NodeRecord) -> None:
        """Add a line for each record; what a crash left of an unfinished one is cut off first.

        The caller holds the data folder's lock, so that nobody else writes.
        """
        if not records:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            self._cut_unfinished_line()
            file.write(b"".join(_to_line(record) for record in records))
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> list[NodeRecord]:
        """All of them in their order; lines that cannot be read are passed over with a warning."""
        return list(self._read())

    def done(self) -> dict[str, list[NodeRecord]]:
        """By node, its records with outcome ``done`` since it was forgotten, the last one last."""
        history: dict[str, list[NodeRecord]] = {}
        for record in self._read():
            if record.outcome == "done":
                history.setdefault(record.node, []).append(record)
            elif record.outcome == "forgotten":
                history.pop(record.node, None)
        return history

    def latest(self) -> dict[str, NodeRecord]:
        """By node, its last record with outcome ``done``."""
        return {node: records[-1] for node, records in self.done().items()}

    def _read(self) -> Iterator[NodeRecord]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    record = NodeRecord.model_validate_json(line)
                except ValidationError:
                    end = "cut off by a crash" if not line.endswith(b"\n") else "damaged"
                    logger.warning("%s, line %d is %s; it is passed over", self.path, number, end)
                    continue
                if record.format != LEDGER_FORMAT:
                    continue
                yield record

    def _cut_unfinished_line(self) -> None:
        with self.path.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            position = end
            while position:
                start = max(0, position - 65_536)
                file.seek(start)
                block = file.read(position - start)
                if (newline := block.rfind(b"\n")) >= 0:
                    position = start + newline + 1
                    break
                position = start
            if position != end:
                logger.warning("%s: its last line was cut off by a crash; it is removed", self.path)
                file.truncate(position)


def _to_line(record: NodeRecord) -> bytes:
    """JSON without what says nothing; a lone surrogate in an error's message becomes a question mark."""
    exclude = {
        name for name in ("reasons", "parameters", "inputs", "wiring", "outputs", "work") if not getattr(record, name)
    }
    values = record.model_dump(mode="json", exclude=exclude, exclude_none=True)
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
