"""One process at a time in a directory, whatever happens to it."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from wsdm_arena.errors import UserError
from wsdm_arena.processes.lock_owner import LockOwner

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"
LOCK_WAIT_S = 45.0
"""Longer than a killed launcher's workers may live on."""
LOCK_POLL_S = 0.2
_MAX_BYTES = 1 << 16
"""What is read of a lock's file; more is no owner's text."""


class DirectoryInUseError(UserError, RuntimeError):
    """Another process holds the directory's lock."""


class DirectoryNotWritableError(UserError, RuntimeError):
    """Nothing can be written into the directory, its lock included."""


@contextmanager
def lock_directory(directory: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Keep other processes out of a directory; the kernel lets go when the process ends, however it ends.

    The lock's file says who holds it. Where the file system knows no locks, a warning is logged and that text stands in
    for the lock: two processes that come within the same instant are both let in, and of an owner on another machine
    nobody knows whether it lives, so it keeps others out until somebody removes the file.

    Args:
        directory: Gets a file ``.lock``, which stays; it is emptied when the block ends.
        wait_s: How long to wait for another process.

    Raises:
        DirectoryInUseError: Another process has held the lock for ``wait_s`` seconds; says which, and what to do.
        DirectoryNotWritableError: The lock's file cannot be written.
    """
    with _open(directory) as file:
        if not _try_lock(file, is_first=True):
            if wait_s > 0:
                logger.info(
                    "%s is in use by %s; waiting for at most %.0f s", directory, _describe(_owner(file)), wait_s
                )
            _wait_for_lock(file, wait_s)
        _report_take_over(directory, _owner(file))
        _write_owner(file)
        try:
            yield
        finally:
            os.ftruncate(file.fileno(), 0)


def read_owner(directory: Path) -> LockOwner | None:
    """Who holds a directory's lock, or held it when it died; None if nobody does, or nobody knows."""
    try:
        with (directory / LOCK_NAME).open("rb") as file:
            return LockOwner.parse(file.read(_MAX_BYTES))
    except OSError:
        return None


def _open(directory: Path) -> FileIO:
    path = directory / LOCK_NAME
    try:
        return open(path, "ab+", buffering=0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DirectoryNotWritableError(
            f"{directory} cannot be written to ({error.strerror or error}: {path}); make it writable and make room, or "
            "name another place"
        ) from None


def _wait_for_lock(file: FileIO, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not _try_lock(file):
        if time.monotonic() > deadline:
            raise DirectoryInUseError(_refusal(file))
        time.sleep(LOCK_POLL_S)


def _refusal(file: FileIO) -> str:
    place, owner = Path(str(file.name)), _owner(file)
    refusal = f"{place.parent} is in use by {_describe(owner)}; "
    if owner is None:
        return refusal + "wait for it or stop it, then give the command again"
    if owner.is_dead:  # the kernel's lock is held all the same
        return (
            f"{refusal}there is no such process any more, but another holds its lock, one that it started or one in "
            f"another container: `fuser {place}` finds it"
        )
    if owner.is_here:
        return f"{refusal}wait for it, or stop process {owner.pid}, then give the command again"
    return (
        f"{refusal}wait for it, or stop process {owner.pid} on {owner.host}, then give the command again; if it is "
        f"there no more, remove {place}"
    )


def _describe(owner: LockOwner | None) -> str:
    return "process (unknown)" if owner is None else str(owner)


def _report_take_over(directory: Path, left: LockOwner | None) -> None:
    if left is None:
        return
    if left.is_here:
        logger.info("%s was left locked by %s, which has ended; it is taken over", directory, left)
    else:  # true of file systems whose locks hold for all machines, which most are
        logger.warning("%s was left locked by %s; its lock is free now, so it is taken over", directory, left)


def _owner(file: FileIO) -> LockOwner | None:
    file.seek(0)
    return LockOwner.parse(file.read(_MAX_BYTES))


def _write_owner(file: FileIO) -> None:
    os.ftruncate(file.fileno(), 0)
    try:
        file.write(LockOwner.of_this_process().model_dump_json().encode("utf-8", "backslashreplace") + b"\n")
        os.fsync(file.fileno())
    except OSError as error:  # a full disk; who works in the directory will say so
        logger.warning("%s does not say who holds it: %s", file.name, error)


def _try_lock(file: FileIO, *, is_first: bool = False) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems know no locks: ENOSYS, ENOLCK, EOPNOTSUPP
        if is_first:
            logger.warning(
                "%s cannot be locked (%s); see to it that no process on another machine uses its directory",
                file.name,
                error.strerror or error,
            )
        owner = _owner(file)
        return owner is None or owner.is_dead
    return True
