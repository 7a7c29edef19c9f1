"""A lock file: held by one process at a time, and let go of by the kernel however that process ends."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)

_POLL_INTERVAL_S = 0.2


class LockHeldError(RuntimeError):
    """Another process holds the lock; the message names it."""


@contextmanager
def hold_lock(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold ``path`` while the context is open, waiting for it for at most ``wait_s`` seconds.

    Where the file system knows no locks, a warning is logged and nobody is kept out.

    Raises:
        LockHeldError: Another process still holds it.
    """
    with path.open("a+") as file:
        deadline = time.monotonic() + wait_s
        while not _try_lock(file):
            if time.monotonic() > deadline:
                file.seek(0)
                raise LockHeldError(
                    f"{path.parent} is in use by process {file.read().strip() or '(unknown)'}; "
                    "wait for it or stop it, then give the command again"
                )
            time.sleep(_POLL_INTERVAL_S)
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems know no locks: ENOSYS, ENOLCK
        logger.warning("%s cannot be locked (%s); see to it that no second run uses its folder", file.name, error)
    return True
