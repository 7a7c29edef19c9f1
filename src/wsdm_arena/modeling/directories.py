"""Directories of weights that are there as a whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def replacing_directory(directory: Path) -> Iterator[Path]:
    """Yield an empty directory beside ``directory``; it becomes ``directory`` if the block ends well, and goes if not.

    What processes that were killed left beside it is removed; what a living one is writing is not.

    Example:
        >>> with replacing_directory(Path("judge")) as partial:  # doctest: +SKIP
        ...     save_file(weights, partial / "model.safetensors")
    """
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    _remove_stale(directory)
    partial.mkdir(parents=True)
    try:
        yield partial
        _replace(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot (another disk, no hard links), copy it.

    A hub's cache holds symbolic links: the file they lead to is linked.
    """
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove_stale(directory: Path) -> None:
    for leftover in directory.parent.glob(f".{directory.name}.*.*"):
        process, _, kind = leftover.name.removeprefix(f".{directory.name}.").partition(".")
        if kind not in ("partial", "old") or not process.isdigit():
            continue
        if int(process) == os.getpid() or not psutil.pid_exists(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)


def _replace(partial: Path, directory: Path) -> None:
    """Rename the finished directory; an older one is out of the way only for the moment in between."""
    old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    if directory.exists():
        os.replace(directory, old)
    os.replace(partial, directory)
    flush(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
