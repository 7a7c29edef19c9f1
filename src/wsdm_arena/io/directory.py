"""Directories as versions of a catalog entry: hard links into the run that made them, so that they cost no bytes."""

import logging
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
"""Its presence says that a checkpoint is complete: it is written last."""


class CheckpointDataset(AbstractVersionedDataset[Path, Path]):
    """A judge's checkpoint directory; nodes exchange its path, and saving links its files instead of copying them.

    The files must not be written to afterwards: all versions share them.

    Args:
        filepath: The directory; with versions, the directory of versions.
        version: Which version is loaded and saved; Kedro sets it where the entry is ``versioned``.
        metadata: For plugins.
    """

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        self.metadata = metadata
        super().__init__(PurePosixPath(filepath), version, exists_function=os.path.isdir)

    def load(self) -> Path:
        """Absolute path of the directory.

        Raises:
            DatasetError: It is not a complete checkpoint.
        """
        return _complete(Path(str(self._get_load_path()))).resolve()

    def save(self, data: Path) -> None:
        """Link a finished checkpoint to its place; it appears there as a whole.

        Raises:
            DatasetError: ``data`` is not a complete checkpoint.
        """
        source, target = _complete(Path(data)), Path(str(self._get_save_path()))
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(source, partial, copy_function=_Linker())
            _replace_directory(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _exists(self) -> bool:
        return (Path(str(self._get_load_path())) / MANIFEST_NAME).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


class _Linker:
    """Hard-links files; copies them where the file system cannot, and says so once."""

    def __init__(self) -> None:
        self._copies = False

    def __call__(self, source: str, target: str) -> None:
        if not self._copies:
            try:
                os.link(os.path.realpath(source), target)
                return
            except OSError as error:
                self._copies = True
                logger.info("copying instead of linking from %s: %s", os.path.dirname(source), error.strerror)
        shutil.copy2(source, target)


def _complete(directory: Path) -> Path:
    if not directory.is_dir():
        raise DatasetError(f"{directory}: there is no such checkpoint directory")
    if not (directory / MANIFEST_NAME).is_file():
        raise DatasetError(f"{directory} has no {MANIFEST_NAME}: half written, or no checkpoint of ours")
    return directory


def _replace_directory(partial: Path, target: Path) -> None:
    """Give a directory its name; one that has it already (without versions) is moved aside first."""
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    if target.exists():
        os.replace(target, aside)
    os.replace(partial, target)
    shutil.rmtree(aside, ignore_errors=True)
