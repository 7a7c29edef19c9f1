"""Who holds a lock, as its file says: enough to tell a living owner from a dead one."""

import os
import shlex
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux draws it anew at each start of the machine: proc(5)."""
_STARTED_FIELD = 19
"""Field 22 of /proc/<pid>/stat, ``starttime``, counted from behind the command's name: proc(5)."""

_SHOWN_COMMAND = 160
"""Characters."""


class LockOwner(BaseModel):
    """A process that holds a lock."""

    model_config = ConfigDict(frozen=True)

    pid: int
    host: str
    command: str = ""
    """Its command line."""
    since: str = ""
    """When it took the lock: ISO 8601, UTC."""
    boot_id: str | None = None
    """Of the machine's start during which it ran."""
    started: int | None = None
    """When it began, in clock ticks since that start: tells it from a later process with the same number."""

    @classmethod
    def of_this_process(cls) -> "LockOwner":
        """This process, now."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            command=shlex.join(sys.orig_argv),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            boot_id=_boot_id(),
            started=_started(os.getpid()),
        )

    @classmethod
    def parse(cls, text: str | bytes) -> "LockOwner | None":
        """Read what a lock's file holds; None for nothing, and for what is no owner's text."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    @property
    def is_here(self) -> bool:
        """Whether it ran on this machine, so that it can be looked for."""
        return self.host == socket.gethostname()

    @property
    def is_dead(self) -> bool:
        """Whether it has surely ended; of a process on another machine nobody knows."""
        if not self.is_here:
            return False
        if self.pid <= 0 or (self.boot_id is not None and self.boot_id != _boot_id()):
            return True
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False  # it is there, and somebody else's
        return self.started is not None and self.started != _started(self.pid)

    def __str__(self) -> str:
        since = f" since {self.since}" if self.since else ""
        shown = " ".join(self.command.split())
        shown = shown if len(shown) <= _SHOWN_COMMAND else shown[:_SHOWN_COMMAND] + "..."
        command = f" ({shown})" if shown else ""
        return f"process {self.pid} on {self.host}{since}{command}"


def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def _started(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[_STARTED_FIELD])  # the name before it may have any character
