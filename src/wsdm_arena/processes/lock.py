"""One process at a time in a directory, whatever happens to it."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from wsdm_arena.errors import UserError

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 45.0
"""Longer than a killed launcher's workers may live on."""
LOCK_POLL_S = 0.2


class DirectoryInUseError(UserError, RuntimeError):
    """Another process holds the directory's lock."""


@contextmanager
def lock_directory(directory: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Keep other processes out of a directory; the kernel lets go when the process ends, however it ends.

    Where the file system knows no locks, a warning is logged and nobody is kept out.

    Args:
        directory: Gets a file ``.lock``, which stays.
        wait_s: How long to wait for another process.

    Raises:
        DirectoryInUseError: Another process has held the lock for ``wait_s`` seconds.
    """
    with (directory / ".lock").open("a+") as file:
        if not _try_lock(file):
            logger.info("%s is in use by process %s; waiting for at most %.0f s", directory, _holder(file), wait_s)
            _wait_for_lock(file, wait_s)
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _wait_for_lock(file: TextIO, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not _try_lock(file):
        if time.monotonic() > deadline:
            raise DirectoryInUseError(
                f"{Path(file.name).parent} is in use by process {_holder(file)}; "
                "wait for it or stop it, then give the command again"
            )
        time.sleep(LOCK_POLL_S)


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "(unknown)"


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems know no locks: ENOSYS, ENOLCK
        logger.warning(
            "%s cannot be locked (%s); see to it that no second process uses its directory", file.name, error
        )
    return True
