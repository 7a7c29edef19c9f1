"""What raw tables and raw shards have in common: files that a person names, and that may be missing or simulated."""

import os
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kedro.io import AbstractDataset
from kedro.utils import find_kedro_project

from wsdm_arena.io.simulated_files import SimulatedFile, find_simulated
from wsdm_arena.preferences.raw_tables import RawTableError, find_files
from wsdm_arena.runs.files import sha256_of

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class RawDataset(AbstractDataset[Saved, Loaded]):
    """Files that are named by paths, patterns and folders.

    Args:
        filepath: See :func:`wsdm_arena.preferences.raw_tables.find_files`; relative ones start from the project's
            directory.
        required: If empty or False, no file at all is no mistake.
        metadata: For plugins.
    """

    def __init__(
        self, *, filepath: str | list[str], required: bool | str = True, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath = filepath
        self._required = bool(required)
        self.metadata = metadata

    @property
    @abstractmethod
    def cures(self) -> str:
        """Where the files could come from, in sentences."""

    def files(self) -> list[Path]:
        """All files, sorted.

        Raises:
            RawTableError: There is none, or one that is named is missing.
        """
        return find_files(self._filepath, relative_to=find_kedro_project(Path.cwd()) or Path.cwd())

    @property
    def filepath(self) -> str | list[str]:
        """As the catalog says it."""
        return self._filepath

    def is_inside(self, folder: Path) -> bool:
        """Whether all that the entry names lies below a folder, there or not; by its name, or where links lead."""
        project = find_kedro_project(Path.cwd()) or Path.cwd()
        paths = self._filepath if isinstance(self._filepath, list) else [self._filepath]
        named = [project / path for path in paths]
        return all(
            Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
            or path.resolve().is_relative_to(folder.resolve())
            for path in named
        )

    def present_files(self) -> list[Path]:
        """All files; none where one is missing."""
        try:
            return self.files()
        except RawTableError:
            return []

    def describe_absence(self) -> str:
        """Say which file is missing and where it could come from; empty if all are there."""
        try:
            self.files()
        except RawTableError as error:
            return f"{error}. {self.cures}"
        return ""

    def simulated_files(self, sha256: Callable[[Path], str] = sha256_of) -> list[SimulatedFile]:
        """Which of its files are as the simulated arena wrote them.

        Args:
            sha256: Gives a file's hash.

        Raises:
            DatasetError: A marker is damaged.
        """
        return find_simulated(self.present_files(), sha256)

    def _exists(self) -> bool:
        return not self._required or bool(self.present_files())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
