"""Verdicts on disk, written a part at a time: Parquet, CSV or JSON lines, there as a whole or not at all."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wsdm_arena.runs.files import replacing_file

Write = Callable[[pd.DataFrame], None]


@contextmanager
def writing_verdicts(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Open an output; it replaces what is there when the block ends well.

    Args:
        path: Its suffix says the format: ``.parquet``, ``.csv`` or ``.jsonl``.
        schema: Names and types of the columns: numbers, booleans and texts.

    Yields:
        What to call with each part, a frame that has these columns.
    """
    with replacing_file(path) as temporary, _WRITERS[path.suffix.lower()](temporary, schema) as write:
        yield write


@contextmanager
def _writing_parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(path, schema) as writer:
        yield lambda part: writer.write_table(pa.Table.from_pandas(part, schema=schema, preserve_index=False))


@contextmanager
def _writing_csv(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Nulls are empty cells; numbers have all their digits."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        # The writer quotes what its line ends consist of: with both of them, a lone \r in a text breaks no row.
        writer = csv.writer(_UnixLines(stream), lineterminator="\r\n")
        writer.writerow(schema.names)
        yield lambda part: writer.writerows(_cells(row) for row in _rows(part, schema))


@contextmanager
def _writing_json_lines(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as stream:

        def write(part: pd.DataFrame) -> None:
            for row in _rows(part, schema):
                stream.write(json.dumps(dict(zip(schema.names, row, strict=True)), ensure_ascii=False) + "\n")

        yield write


class _UnixLines:
    """Ends the rows of a CSV by a line feed alone; each comes in one piece."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _rows(part: pd.DataFrame, schema: pa.Schema) -> Iterator[tuple[Any, ...]]:
    """Plain Python values; a null is None."""
    table = pa.Table.from_pandas(part, schema=schema, preserve_index=False)
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _cells(row: tuple[Any, ...]) -> list[Any]:
    return [str(cell).lower() if isinstance(cell, bool) else cell for cell in row]


_WRITERS = {".parquet": _writing_parquet, ".csv": _writing_csv, ".jsonl": _writing_json_lines}
