"""Directories that go as a whole, and what the disk gains by it."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512
"""What ``st_blocks`` counts in, whatever the file system's own blocks are (POSIX, ``sys/stat.h``)."""


@dataclass(frozen=True)
class File:
    """What the file system says of one name of a file."""

    inode: tuple[int, int]
    """Device and number."""
    num_links: int
    """All names that the file has, here and elsewhere."""
    disk_bytes: int
    """What it takes on the disk, which is less than its length where it has holes."""


def list_files(path: Path) -> list[File]:
    """Every name below a path, or the path's own; symbolic links count as themselves, what has gone does not count."""
    return list(_files(path))


def freed_bytes(files: Iterable[File]) -> int:
    """What the disk gains when these names go: a file takes its place until the last of its names has gone."""
    described: dict[tuple[int, int], File] = {}
    names: Counter[tuple[int, int]] = Counter()
    for file in files:
        described[file.inode] = file
        names[file.inode] += 1
    return sum(file.disk_bytes for inode, file in described.items() if names[inode] >= file.num_links)


def disk_bytes(files: Iterable[File]) -> int:
    """What files take on the disk; several names of one count once."""
    return sum({file.inode: file.disk_bytes for file in files}.values())


def remove_as_a_whole(path: Path) -> None:
    """Remove a directory, a file or a symbolic link: others see all of it or nothing.

    It gets the hidden name of a half-written directory first, see :mod:`wsdm_arena.runs.directories`: where the process
    is killed, :func:`~wsdm_arena.runs.directories.recover_directories` removes the rest.

    Raises:
        OSError: It cannot be removed, or only a part of it; then that has the hidden name.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def remove_empty_folders(folder: Path, root: Path) -> None:
    """Remove a folder if it is empty, and those above it that are empty then; ``root`` and its own folders stay."""
    while root in folder.parents and folder.parent != root:
        try:
            folder.rmdir()
        except OSError:  # not empty, or not ours
            return
        folder = folder.parent


def _files(path: Path) -> Iterator[File]:
    try:
        if path.is_dir() and not path.is_symlink():
            for child in path.iterdir():
                yield from _files(child)
            return
        state = path.lstat()
    except FileNotFoundError:
        return
    yield File((state.st_dev, state.st_ino), state.st_nlink, state.st_blocks * _BLOCK_BYTES)
