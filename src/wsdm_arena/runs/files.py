"""Files that are whole or absent, and what they were when they were written."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from wsdm_arena.progress import show_progress

_LARGE_MB = 100
"""Files below are hashed in less than a second."""
_BLOCK_BYTES = 4 << 20

MANIFEST = "manifest.json"
"""Written last into a directory: its presence says that the directory is complete."""
CARD = "README.md"
"""What a directory says of itself to people, who may edit it: no manifest names it, and it counts in no digest."""


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside ``path`` to write to; it becomes ``path`` if the block ends well, and goes if not.

    The file holds the old or the new content at any moment, also after a power cut. A killed process leaves
    ``.<name>.<pid>`` behind. The folder is made if it is not there.

    Example:
        >>> with replacing_file(Path("table.csv")) as partial:  # doctest: +SKIP
        ...     frame.to_csv(partial)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a killed process that had the same number
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)  # still there, too, where both names were links to one file


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file, see :func:`replacing_file`."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> bool:
    """Give a file a second name; where the file system cannot (another disk, no hard links), copy it.

    Both names are the same file afterwards: only what nobody writes to any more may be linked. Of a symbolic link, the
    file that it leads to is linked.

    Returns:
        Whether it was linked.

    Raises:
        FileExistsError: ``target`` is there already; it may be a link itself, so it is not written to.
    """
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOENT):
            raise
        shutil.copyfile(source, target)
        flush(target)
        return False
    return True


def last_json_line(path: Path) -> dict[str, Any]:
    """The last whole object of a file of JSON lines; empty where there is none.

    A killed process may have left the last line half written, so lines that are no objects are passed over.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            return record
    return {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal; of one that takes long the progress is shown."""
    with path.open("rb") as file:
        num_mb = os.fstat(file.fileno()).st_size // 1_000_000
        if num_mb < _LARGE_MB:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest, done = hashlib.sha256(), 0
        with show_progress(f"checksum of {path.parent.name}/{path.name}, MB", total=num_mb) as progress:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                done += len(block)
                progress(done // 1_000_000)
        return digest.hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}


def read_descriptions(files: object) -> dict[str, dict[str, Any]]:
    """Make sure that what a manifest calls its files are descriptions of files within its directory.

    Args:
        files: As JSON gives it.

    Returns:
        What :func:`describe_file` said of each file, by path within the directory.

    Raises:
        ValueError: It is something else, or a name leads out of the directory.
    """
    if not isinstance(files, Mapping):
        raise ValueError("it names no files")
    for name, description in files.items():
        require_inner_name(name)
        size = description.get("size") if isinstance(description, Mapping) else None
        if not isinstance(size, int) or not isinstance(description.get("sha256"), str):
            raise ValueError(f"of {name!r} it does not say size and sha256")
    return {name: dict(description) for name, description in files.items()}


def require_inner_name(name: str) -> None:
    """Refuse a name that would lead out of its directory, or to one file under two names.

    Raises:
        ValueError: It is absolute, has ``..`` in it, or is not in its shortest form.
    """
    path = PurePosixPath(name)
    is_inner = path.parts and ".." not in path.parts and not path.is_absolute() and path.as_posix() == name
    if not is_inner or "\\" in name or "\0" in name:
        raise ValueError(f"the name {name!r} does not stay within its directory")


def find_damage(
    directory: Path, files: Mapping[str, Mapping[str, Any]], *, max_hashed_bytes: int | None = None
) -> str | None:
    """Compare a directory with what was said of its files when they were written.

    Args:
        directory: Whose.
        files: What :func:`describe_file` said, by path within ``directory``; see :func:`read_descriptions`.
        max_hashed_bytes: Of larger files only the size is compared; None: every file is hashed.

    Returns:
        What is wrong with the first file that is not as it was; None where all are.
    """
    for name, written in files.items():
        file = directory / name
        if not file.is_file():
            return f"{file} is missing"
        size = file.stat().st_size
        if size != written["size"]:
            return f"{file} has {size} bytes, not the {written['size']} that were written"
        is_hashed = max_hashed_bytes is None or size <= max_hashed_bytes
        if is_hashed and sha256_of(file) != written["sha256"]:
            return f"{file} is damaged: its SHA-256 is not that of what was written"
    return None
