"""Datasets that hand over a place instead of its contents."""

import os
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, Version

from wsdm_arena.runs.files import link_or_copy, replacing_file


class PathDataset(AbstractVersionedDataset[NoReturn, Path]):
    """The path of a file that another entry of the catalog saves.

    The read-only half of a transcoded pair: ``pairs@pandas`` saves a table, ``pairs@path`` gives it to a subprocess.
    Both halves must agree on ``versioned``.
    """

    def __init__(self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None):
        self.metadata = metadata
        super().__init__(PurePosixPath(filepath), version, exists_function=os.path.exists)

    def load(self) -> Path:
        """Absolute path of the newest version."""
        return Path(str(self._get_load_path())).resolve()

    def save(self, data: NoReturn) -> None:
        """Always refuses: the other half of the transcoded entry saves."""
        raise DatasetError(f"{self._filepath} is read-only here; save through its other transcoding")

    def _exists(self) -> bool:
        return Path(str(self._get_load_path())).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


class FileDataset(AbstractVersionedDataset[Path, Path]):
    """A file that nodes hand over by its path, because it need not fit into memory.

    Saving links the file that a node wrote, or copies it across file systems; it must not be written to afterwards.
    """

    def __init__(self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None):
        self.metadata = metadata
        super().__init__(PurePosixPath(filepath), version, exists_function=os.path.exists)

    def load(self) -> Path:
        """Absolute path of the newest version."""
        return Path(str(self._get_load_path())).resolve()

    def save(self, data: Path) -> None:
        """Give a finished file its place; it appears there as a whole."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            link_or_copy(Path(data), partial)

    def _exists(self) -> bool:
        return Path(str(self._get_load_path())).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


class FolderDataset(AbstractDataset[NoReturn, Path]):
    """A folder that nodes work in, such as the token store or the run directories; made when it is not there."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Absolute path of the folder."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath.resolve()

    def save(self, data: NoReturn) -> None:
        """Always refuses: nodes write into the folder themselves."""
        raise DatasetError(f"{self._filepath} is a folder that nodes work in; it cannot be saved")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
