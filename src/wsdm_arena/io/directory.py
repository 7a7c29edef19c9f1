"""Directories as versions of a catalog entry: hard links into the run that made them, so that they cost no bytes."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version

from wsdm_arena.io.contents import files_of
from wsdm_arena.io.previews import NOTHING, JSONPreview, preview_json
from wsdm_arena.runs.directories import link_tree, replacing_directory
from wsdm_arena.runs.files import MANIFEST


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
        with replacing_directory(target) as partial:
            link_tree(source, partial)

    def preview(self) -> JSONPreview:
        """What the checkpoint says of itself, as Kedro-Viz draws it."""
        manifests = [path / MANIFEST for path in files_of(self) if (path / MANIFEST).is_file()]
        return next((preview_json(json.loads(path.read_text(encoding="utf-8"))) for path in manifests), NOTHING)

    def _exists(self) -> bool:
        return (Path(str(self._get_load_path())) / MANIFEST).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


def _complete(directory: Path) -> Path:
    if not directory.is_dir():
        raise DatasetError(f"{directory}: there is no such checkpoint directory")
    if not (directory / MANIFEST).is_file():
        raise DatasetError(f"{directory} has no {MANIFEST}: half written, or no checkpoint of ours")
    return directory
