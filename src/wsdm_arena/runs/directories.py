"""Directories that are there as a whole or not at all.

While a directory is written it is called ``.<name>.<random>.partial``, and its writer holds a lock on it. To replace
another one takes two renames; in between, the older one is called ``.<name>.<random>.old``. What a killed process
leaves is put right when the directory is written next: an older one that nothing has replaced gets its name back.
"""

import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from wsdm_arena.runs.files import flush, link_or_copy

logger = logging.getLogger(__name__)

_PARTIAL, _OLD = ".partial", ".old"
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[^.]+(?P<suffix>\.partial|\.old)", re.DOTALL)
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)
"""What network file systems answer that know no locks, or none on folders."""


@contextmanager
def replacing_directory(directory: Path) -> Iterator[Path]:
    """Yield an empty directory beside ``directory``; it becomes ``directory`` if the block ends well, and goes if not.

    Several processes may do so at once: the last one to end wins. What processes that were killed left beside it is
    put right first, see :func:`recover_directories`.

    Example:
        >>> with replacing_directory(Path("judge")) as partial:  # doctest: +SKIP
        ...     save_file(weights, partial / "model.safetensors")
    """
    with partial_directory(directory) as partial:
        yield partial
        replace_directory(partial, directory)


@contextmanager
def partial_directory(directory: Path) -> Iterator[Path]:
    """Yield an empty directory beside ``directory``, under a name of its own; it goes at the end if it still has it.

    What processes that were killed left beside ``directory`` is put right first.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.parent):
        _recover(directory.parent, _escaped(directory.name))
        partial = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}{_PARTIAL}")
        partial.mkdir()
        lock = os.open(partial, os.O_RDONLY)
        _try_lock(lock)
    try:
        yield partial
    finally:
        os.close(lock)
        _remove(partial)


def replace_directory(partial: Path, directory: Path) -> None:
    """Give a finished directory its name. One that has the name already is moved aside, then removed.

    Raises:
        OSError: It cannot be renamed; then the older directory has its name again.
    """
    old = partial.with_name(f"{partial.name.removesuffix(_PARTIAL)}{_OLD}")
    for folder, _, _ in os.walk(partial):
        flush(Path(folder))
    with _locked(directory.parent):
        is_replacing = os.path.lexists(directory)
        if is_replacing:
            os.replace(directory, old)
        try:
            os.replace(partial, directory)
        except BaseException:
            if is_replacing:
                with suppress(OSError):  # where there are no locks, another process may have given it back already
                    os.replace(old, directory)
            raise
        if is_replacing:
            os.replace(old, partial)  # whatever is called old would be given back after a kill
        flush(directory.parent)
    if is_replacing:
        _remove(partial)


def recover_directories(folder: Path, pattern: str) -> None:
    """Put right what killed processes left in a folder.

    An older directory gets its name back if nothing has replaced it. Half-written ones are removed, but those of living
    processes.

    Args:
        folder: Need not be there.
        pattern: Names of the directories, such as ``model`` or ``update-*``.
    """
    if folder.is_dir():
        with _locked(folder):
            _recover(folder, pattern)


def link_tree(source: Path, target: Path) -> None:
    """Link every file of a directory into another one, see :func:`link_or_copy`; copies are logged once."""
    copied: list[str] = []

    def place(file: str, place: str) -> None:
        if not link_or_copy(Path(file), Path(place)):
            copied.append(file)

    shutil.copytree(source, target, copy_function=place, dirs_exist_ok=True)
    if copied:
        logger.info("copied instead of linked: %d files of %s, which is on another file system", len(copied), source)


def _recover(folder: Path, pattern: str) -> None:
    for leftover in sorted(folder.glob(f".{pattern}.*")):
        found = _LEFTOVER.fullmatch(leftover.name)
        if found is None or not fnmatchcase(found["name"], pattern):
            continue
        directory = folder / found["name"]
        if found["suffix"] == _OLD and not os.path.lexists(directory):
            logger.warning("%s is there again: a process was killed while it replaced it", directory)
            os.replace(leftover, directory)
        elif not _is_in_use(leftover):
            _remove(leftover)


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _is_in_use(leftover: Path) -> bool:
    try:
        descriptor = os.open(leftover, os.O_RDONLY)
    except OSError:  # gone meanwhile, or of another user
        return True
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Whether nobody else holds the lock; where there are no locks, somebody might."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, *_WITHOUT_LOCKS):
            raise
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time rename directories in a folder; it takes a moment. The lock leaves no file behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
