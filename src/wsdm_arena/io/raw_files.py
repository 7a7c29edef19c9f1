"""Raw data that is not one table: shards of many files, and checkpoints."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from wsdm_arena.io.previews import NOTHING, TablePreview, preview_file
from wsdm_arena.io.raw_dataset import RawDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.io.simulated_files import SimulatedFile, find_simulated
from wsdm_arena.runs.files import sha256_of

logger = logging.getLogger(__name__)


class RawShardsDataset(RawDataset[Sequence[pd.DataFrame], list[Path]]):
    """Parquet shards that are too large to be loaded as one table: nodes get their paths.

    Saving is for the simulated arena only: it writes one file a frame, and refuses to replace what it did not write.

    Args:
        filepath: A folder, a glob pattern, or several with semicolons between; relative ones start from the project's
            directory.
        shard_name: File name of a shard, with ``{index}`` and ``{count}``.
        cure: Where the files come from, for the message that they are missing.
        required: If empty or False, no file at all reads as an empty list.
        metadata: For plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        shard_name: str = "train-{index:05d}-of-{count:05d}.parquet",
        cure: str = "",
        required: bool | str = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, required=required, metadata=metadata)
        self._shard_name = shard_name
        self._cure = cure

    @property
    def cures(self) -> str:
        """Where the catalog says they come from, and the simulated arena."""
        return f"{self._cure}`kedro run --pipelines simulated_arena` writes simulated ones."

    def load(self) -> list[Path]:
        """Paths of all shards, sorted by name.

        Raises:
            DatasetError: There are none; says what to do.
        """
        absence = self.describe_absence()
        if absence and self._required:
            raise DatasetError(absence)
        return self.present_files()

    def save(self, data: Sequence[pd.DataFrame]) -> None:
        """Write every frame to a file of its own.

        Raises:
            DatasetError: A file is there that the simulated arena did not write.
        """
        shards = [self._shard(index, len(data)) for index in range(len(data))]
        for shard in shards:
            shard.check_writable()
        self._check_strangers({Path(str(shard._filepath)).name for shard in shards})
        for shard, table in zip(shards, data, strict=True):
            shard.save(table)

    def preview(self, nrows: int = 20) -> TablePreview:
        """The first rows of the first shard, as Kedro-Viz draws them."""
        return next((preview_file(path, nrows) for path in self.present_files()), NOTHING)

    def check_writable(self) -> None:
        """Make sure that saving replaces nothing but shards of the simulated arena.

        Raises:
            DatasetError: A file is there that it did not write.
        """
        for path in self.present_files():
            RawTableDataset(filepath=str(path)).check_writable()

    def _shard(self, index: int, count: int) -> RawTableDataset:
        name = self._shard_name.format(index=index, count=count)
        return RawTableDataset(filepath=str(Path(str(self._filepath)) / name))

    def _check_strangers(self, written: set[str]) -> None:
        folder = Path(str(self._filepath))
        present = {path.name for path in folder.glob("*.parquet")} if folder.is_dir() else set()
        for name in present - written:
            RawTableDataset(filepath=str(folder / name)).check_writable()
            (folder / name).unlink()  # a shard of an earlier simulation, when there were more of them


class RawCheckpointDataset(AbstractDataset[Path, Path]):
    """A downloaded checkpoint: nodes get its folder.

    Args:
        filepath: The folder; a relative one starts from the working directory.
        metadata: For plugins.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Absolute path of the folder.

        Raises:
            DatasetError: It is missing; says what to do.
        """
        if absence := self.describe_absence():
            raise DatasetError(absence)
        return self._filepath.resolve()

    def save(self, data: Path) -> None:
        """Take note of a folder that a node has written in its place, as the simulated arena does.

        Raises:
            DatasetError: It is another folder: checkpoints are downloaded or simulated, never copied here.
        """
        if Path(data).resolve() != self._filepath.resolve() or self.describe_absence():
            raise DatasetError(f"{self._filepath} is a raw checkpoint; {data} cannot be saved there")

    def describe_absence(self) -> str:
        """Say that the folder is missing and where it could come from; empty if it is there."""
        if self._filepath.is_dir():
            return ""
        return (
            f"{self._filepath}: there is no such folder. `kedro fetch` downloads it; or put a checkpoint in the "
            f"contest's inference layout there, name another backbone in judges.{self._filepath.name}.backbone.source, "
            "or let `kedro run --pipelines simulated_checkpoints` write a tiny one"
        )

    def simulated_files(self, sha256: Callable[[Path], str] = sha256_of) -> list[SimulatedFile]:
        """Which of its files are as the simulated arena wrote them.

        Args:
            sha256: Gives a file's hash.

        Raises:
            DatasetError: The folder's marker is damaged.
        """
        if not self._filepath.is_dir():
            return []
        return find_simulated(sorted(path for path in self._filepath.iterdir() if path.is_file()), sha256)

    def _exists(self) -> bool:
        return not self.describe_absence()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
