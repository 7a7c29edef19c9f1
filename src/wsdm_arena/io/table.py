"""Tables of our own: Parquet, written atomically."""

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DatasetError
from kedro_datasets.pandas import CSVDataset, ParquetDataset

from wsdm_arena.io.contents import files_of
from wsdm_arena.io.previews import NOTHING, TablePreview, preview_file
from wsdm_arena.runs.files import replacing_file


class TableDataset(ParquetDataset):
    """A Parquet table on a local disk that a killed run cannot leave half written.

    Takes the arguments of ``pandas.ParquetDataset``; the index of a frame is not saved unless ``save_args`` says so.
    """

    DEFAULT_SAVE_ARGS: dict[str, Any] = {"index": False}  # noqa: RUF012 (Kedro's own declaration)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if self._protocol != "file":
            raise DatasetError(f"{self._filepath}: tables are written to local disks, not over {self._protocol}")

    def save(self, data: pd.DataFrame) -> None:
        """Write the table under a temporary name, then give it its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            data.to_parquet(partial, **self._save_args)
        self._invalidate_cache()

    def preview(self, nrows: int = 20) -> TablePreview:
        """The first rows, with short texts, as Kedro-Viz draws them; no more than these are read."""
        return next((preview_file(path, nrows) for path in files_of(self)), NOTHING)


class SubmissionDataset(CSVDataset):
    """``submission.csv`` on a local disk; ids are texts, whatever they look like."""

    DEFAULT_SAVE_ARGS: dict[str, Any] = {"index": False}  # noqa: RUF012
    DEFAULT_LOAD_ARGS: dict[str, Any] = {"dtype": "str", "keep_default_na": False}  # noqa: RUF012

    def save(self, data: pd.DataFrame) -> None:
        """Write the table under a temporary name, then give it its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            data.to_csv(partial, **self._save_args)
        self._invalidate_cache()

    def preview(self, nrows: int = 20) -> TablePreview:
        """The first rows, with short texts, as Kedro-Viz draws them; no more than these are read."""
        return next((preview_file(path, nrows) for path in files_of(self)), NOTHING)
