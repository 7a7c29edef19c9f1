"""Raw tables: read whatever the user has, write nothing but what the simulated arena wrote before."""

import glob
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DatasetError

from wsdm_arena.io.previews import NOTHING, TablePreview, preview_file
from wsdm_arena.io.raw_dataset import RawDataset
from wsdm_arena.io.simulated_files import (
    MARKER_NAME,
    describe_written,
    find_written,
    note,
    noted,
)
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS, RawTableError, read_raw_tables
from wsdm_arena.runs.files import replacing_file

logger = logging.getLogger(__name__)

__all__ = ["MARKER_NAME", "RawTableDataset"]

_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".jsonl": lambda table, path: table.to_json(path, orient="records", lines=True, force_ascii=False),
}

_CURES = (
    "`kedro fetch` downloads the contest's files "
    "(https://www.kaggle.com/competitions/wsdm-cup-multilingual-chatbot-arena); "
    "`kedro run --pipelines simulated_arena` writes simulated ones; "
    "--params raw.train=<files> (or raw.test, raw.collected_pairs) reads files of your own."
)
_OWN_CURES = (
    "Correct the path in raw.train, raw.test, raw.collected_pairs or raw.sample_submission (of make: BATTLES, TEST or "
    "COLLECTED)."
)
_RAW_LAYER = "01_raw"


class RawTableDataset(RawDataset[pd.DataFrame, pd.DataFrame]):
    """One or many raw files as one table; see :func:`wsdm_arena.preferences.raw_tables.read_raw_tables`.

    Saving is for the simulated arena only: it refuses to replace a file that the arena did not write.

    Args:
        filepath: A path, a glob pattern, a directory, several of these with commas or semicolons between, or a list;
            relative ones start from the project's directory.
        required: If empty or False, no file at all reads as a table without rows.
        columns: Of that empty table.
        metadata: For plugins.
    """

    def __init__(
        self,
        *,
        filepath: str | list[str],
        required: bool | str = True,
        columns: Sequence[str] = TEXT_COLUMNS,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, required=required, metadata=metadata)
        self._columns = tuple(columns)

    @property
    def cures(self) -> str:
        """Of a file that the user names: its path. Else the contest's page and the simulated arena are named."""
        is_named_by_user = isinstance(self._filepath, list) or _RAW_LAYER not in Path(str(self._filepath)).parts
        return _OWN_CURES if is_named_by_user else _CURES

    def load(self) -> pd.DataFrame:
        """Read all files.

        Raises:
            DatasetError: A file is missing or unreadable; the message says which, and what to do.
        """
        try:
            files = self.files()
        except RawTableError as error:
            if not self._required:
                logger.warning("%s is not there: read as a table without rows", self._filepath)
                return pd.DataFrame({name: pd.Series(dtype="str") for name in self._columns})
            raise DatasetError(f"{error}. {self.cures}") from None
        try:
            return read_raw_tables(files)
        except RawTableError as error:
            raise DatasetError(str(error)) from None

    def save(self, data: pd.DataFrame) -> None:
        """Write the table in the format of its suffix, atomically, and note it in the folder's marker.

        Raises:
            DatasetError: See :meth:`check_writable`.
        """
        path = self.check_writable()
        with replacing_file(path) as partial:
            _WRITERS[path.suffix](data, partial)
            written = describe_written(partial)
            note(path, [*noted(path), written])  # before the file, or a crash between would disown it
        note(path, [written])

    def preview(self, nrows: int = 20) -> TablePreview:
        """The first rows of the first file, as Kedro-Viz draws them."""
        return next((preview_file(path, nrows) for path in self.present_files()), NOTHING)

    def check_writable(self) -> Path:
        """Make sure that saving replaces nothing but a file of the simulated arena.

        Returns:
            The file that saving would write.

        Raises:
            DatasetError: The entry names more than one file or an unknown format, or the file exists and is not what
                the simulated arena wrote there.
        """
        path = Path(str(self._filepath))
        if isinstance(self._filepath, list) or path.suffix not in _WRITERS or _names_many(path):
            known = ", ".join(_WRITERS)
            raise DatasetError(f"{self._filepath} is no single file ({known}) to write to; nothing was changed")
        if path.exists() and find_written(path, noted(path)) is None:
            raise DatasetError(
                f"{path} was not written by the simulated arena, or was changed since; nothing was changed. "
                "Move it away to simulate, or read it: --params raw.train=<files> (or raw.test)."
            )
        return path


def _names_many(path: Path) -> bool:
    """Tell a pattern or a list from the name of one file, which may have its characters too."""
    if path.is_file():
        return False
    unsure = path.name if path.parent.is_dir() else str(path)
    return path.is_dir() or "," in unsure or glob.has_magic(unsure)
