"""Hashes of file contents, remembered by what the file system says, so that a second look at 20 GB takes no time."""

import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from wsdm_arena.runs.files import CARD, replacing_file, sha256_of
from wsdm_arena.runs.fingerprint import fingerprint

logger = logging.getLogger(__name__)

CACHE_NAME = ".digests.json"
"""Within the data folder."""
_SETTLED_NS = 2_000_000_000
"""A file that was written this short a time before it was hashed could change again without a new time stamp: file
systems count in steps of up to two seconds."""


class DigestCache:
    """SHA-256 of files by device and inode, valid while size and modification time are as they were.

    Hard links to one file are one entry.

    Args:
        path: Where it is kept between processes; None: nowhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: dict[str, list[object]] = {}
        self._has_news = False
        if path is not None and path.exists():
            try:
                entries = json.loads(path.read_text())
                self._entries = {
                    key: entry for key, entry in entries.items() if isinstance(entry, list) and len(entry) == 3
                }
            except (ValueError, AttributeError, OSError):
                logger.warning("%s is damaged; contents are hashed anew", path)

    @classmethod
    def of(cls, data_root: Path) -> "DigestCache":
        """That of a data folder; it need not be there."""
        return cls(data_root / CACHE_NAME)

    def sha256(self, file: Path) -> str:
        """SHA-256 of a file's bytes, hexadecimal.

        Raises:
            OSError: The file is not there or cannot be read.
        """
        state = file.stat()
        key, stamp = f"{state.st_dev}:{state.st_ino}", [state.st_size, state.st_mtime_ns]
        known = self._entries.get(key)
        if known is not None and known[:2] == stamp:
            return str(known[2])
        digest = sha256_of(file)
        if time.time_ns() - state.st_mtime_ns > _SETTLED_NS:
            self._entries[key] = [*stamp, digest]
            self._has_news = True
        return digest

    def digest(self, paths: Iterable[Path]) -> tuple[str, int]:
        """Hash files and directories together: names within a directory count, where it lies does not.

        Hidden files (a hub's cache, markers) and cards for people are left out, and so is the order of the files of a
        directory.

        Returns:
            32 hexadecimal digits, and the size in bytes.
        """
        described: list[object] = []
        size = 0
        for path in paths:
            files = _visible_files(path) if path.is_dir() else {path.name: path}
            described.append({name: self.sha256(file) for name, file in files.items()})
            size += sum(file.stat().st_size for file in files.values())
        return fingerprint({"files": described}), size

    def save(self) -> None:
        """Keep what was learnt; a data folder that cannot be written to is no reason to fail."""
        if self._path is None or not self._has_news:
            return
        try:
            with replacing_file(self._path) as partial:
                partial.write_text(json.dumps(self._entries))
        except OSError as error:
            logger.debug("%s is not kept: %s", self._path, error)
        self._has_news = False


def _visible_files(directory: Path) -> dict[str, Path]:
    found = {}
    for folder, subfolders, names in os.walk(directory):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name != CARD:
                path = Path(folder, name)
                found[path.relative_to(directory).as_posix()] = path
    return dict(sorted(found.items()))
