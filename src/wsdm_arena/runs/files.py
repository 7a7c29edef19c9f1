"""Files of a run: whole or absent, and what they were when it ended."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside ``path`` to write to; it becomes ``path`` if the block ends well, and goes if not.

    The file holds the old or the new content at any moment, also after a power cut. A killed process leaves
    ``.<name>.<pid>`` behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file, see :func:`replacing_file`."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def sync_directory(path: Path) -> None:
    """Make new names in a directory permanent."""
    _sync(path)


def describe_file(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def find_damage(
    directory: Path, files: Mapping[str, Mapping[str, Any]], *, max_hashed_bytes: int | None = None
) -> str | None:
    """Compare files with what :func:`describe_file` said of them when the run ended.

    Args:
        directory: Of the run.
        files: What was said, by path within ``directory``.
        max_hashed_bytes: Of larger files only the size is compared; None: every file is hashed.

    Returns:
        What is wrong with the first file that is not as it was; None where all are.
    """
    for name, written in files.items():
        file = directory / name
        if not file.is_file():
            return f"{file} is missing from a finished run"
        is_same = file.stat().st_size == written["size"]
        if is_same and (max_hashed_bytes is None or written["size"] <= max_hashed_bytes):
            is_same = describe_file(file) == written
        if not is_same:
            return f"{file} is not what the finished run wrote"
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
