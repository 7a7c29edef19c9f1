"""Rows of one raw file, Parquet, CSV or JSON lines: a frame at a time, so that a file may be larger than memory.

Nothing is interpreted here but the file formats. A row that cannot be read stays as a row with a ``_fault``.
"""

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wsdm_arena.errors import UserError

FILE_COLUMN = "_file"
"""Path of the file a row comes from."""
ROW_COLUMN = "_row"
"""Number of the row in its file, from 1; a CSV's header is not counted."""
FAULT_COLUMN = "_fault"
"""Why the row could not be read; null where it could."""
INTERNAL_COLUMNS = (FILE_COLUMN, ROW_COLUMN, FAULT_COLUMN)

Record = tuple[dict[str, Any], str | None]
"""The cells of a row, and what is wrong with it."""
Records = tuple[list[str], Iterator[Record]]
"""Names of the columns, as far as they are known beforehand, and the rows."""

_PARQUET = ".parquet"
_BUFFER_BYTES = 1 << 20
"""Of a Parquet column that are read at a time; without it the whole column of a row group is."""


_NO_TEXT = {
    b"PAR1": "it is Parquet: end its name in .parquet",
    b"\x1f\x8b": "it is compressed by gzip: unpack it",
    b"PK\x03\x04": "it is a ZIP archive or a spreadsheet: unpack it, or save the sheet as CSV",
    b"(\xb5/\xfd": "it is compressed by Zstandard: unpack it",
    b"\xff\xfe": "it is text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "it is text in UTF-16: save it as UTF-8",
}
"""How files that are not text begin, and what to do with them."""
_SAMPLE_BYTES = 4096
_MAX_UNREADABLE_SHARE = 0.2
"""Of the first bytes that are no UTF-8: in Latin-1 one in ten is an accented letter, of random bytes most are."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class RawTableError(UserError, ValueError):
    """A raw file is missing, unreadable or not the table it should be; nothing was processed."""


class EmptyTableError(RawTableError):
    """A raw file holds no rows."""


@dataclass(frozen=True)
class FileSurvey:
    """What a file holds, without its texts.

    Attributes:
        num_rows: Rows, those that cannot be read included.
        num_readable: Rows that can be read and hold every obligatory column.
        columns: Names of the columns; of JSON lines those of any row.
        missing: Obligatory columns that no row has.
        first_fault: What is wrong with the first row that is not readable; None where all are.
    """

    num_rows: int
    num_readable: int
    columns: tuple[str, ...]
    missing: tuple[str, ...]
    first_fault: str | None


def survey_file(file: Path, required: Sequence[str] = ()) -> FileSurvey:
    """Go through a file once and count; only one row at a time is in memory (a JSON list is read whole).

    Args:
        file: Of a known format.
        required: Obligatory columns; a JSON object without one of them is not readable.

    Raises:
        RawTableError: The file is unreadable or of an unknown format.
        EmptyTableError: It holds no rows.
    """
    with _explaining(file):
        if not file.stat().st_size:
            raise EmptyTableError(f"{file}: the file is empty")
        if _suffix(file) == _PARQUET:
            with _open_parquet(file) as parquet:
                names, num_rows = _parquet_names(parquet, file), parquet.metadata.num_rows
            num_readable, first_fault = num_rows, None
        else:
            names, num_rows, num_readable, first_fault = _count_records(file, required)
    if not num_rows:
        raise EmptyTableError(f"{file}: the file holds no rows")
    missing = tuple(name for name in required if name not in names)
    return FileSurvey(num_rows, num_readable, tuple(names), missing, first_fault)


def read_frame(file: Path) -> pd.DataFrame:
    """Read a whole file; cells keep their types.

    Returns:
        The file's columns, and ``_row`` and ``_fault``; no rows where the file has none.

    Raises:
        RawTableError: The file is unreadable or of an unknown format.
    """
    with _explaining(file):
        if _suffix(file) == _PARQUET:
            with _open_parquet(file) as parquet:
                table = parquet.read()
            return _numbered(_parquet_frame(table, file), 0)
        with _RECORDS[_suffix(file)](file, ()) as (names, records):
            return _numbered(_frame(list(records), names, file), 0)


def stream_frames(
    file: Path,
    rows_per_frame: int,
    *,
    required: Sequence[str] = (),
    wanted: Container[int] | None = None,
    columns: Container[str] | None = None,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Read a file in frames; memory does not grow with its rows, except for a JSON list, which is read whole.

    Args:
        file: Of a known format.
        rows_per_frame: Of every frame but the last.
        required: Columns that every frame has; a JSON object without one of them gets a fault.
        wanted: Numbers of the frames to make; the others are passed over. None: all.
        columns: Those of a Parquet file that are decoded; other formats give all that they have. None: all.

    Yields:
        The frame's number, from 0, and the frame: the file's columns, and ``_row`` and ``_fault``.

    Raises:
        RawTableError: The file is unreadable, of an unknown format, or lacks a required column.
    """
    with _explaining(file):
        if _suffix(file) == _PARQUET:
            yield from _stream_parquet(file, rows_per_frame, wanted, columns)
            return
        with _RECORDS[_suffix(file)](file, required) as (names, records):
            for number in count():
                chunk = list(islice(records, rows_per_frame))
                if not chunk:
                    return
                if wanted is None or number in wanted:
                    frame = _frame(chunk, list(dict.fromkeys([*names, *required])), file)
                    yield number, _numbered(frame, number * rows_per_frame)


def replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs by U+FFFD: no file, table or terminal takes them.

    They stand in texts cut in the middle, and for the bytes of a file or of its name that are no UTF-8.
    """
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


@contextmanager
def _explaining(file: Path) -> Iterator[None]:
    """Say which file could not be read."""
    if _suffix(file) not in SUFFIXES:
        raise RawTableError(f"{file}: unknown format {file.suffix!r}; known suffixes: {sorted(SUFFIXES)}")
    try:
        _check_content(file)
        yield
    except (OSError, pa.ArrowException, UnicodeError, json.JSONDecodeError) as error:
        raise RawTableError(f"{file}: cannot be read as {file.suffix[1:]}: {_first_line(error)}") from error


def _check_content(file: Path) -> None:
    """Refuse what is no text though its name says so; as text it would be a page of unreadable characters."""
    with file.open("rb") as stream:
        start = stream.read(_SAMPLE_BYTES)
    if _suffix(file) == _PARQUET:
        if start and not start.startswith(b"PAR1"):
            raise RawTableError(f"{file}: this is no Parquet file; give it the ending of what it is")
        return
    for magic, cure in _NO_TEXT.items():
        if start.startswith(magic):
            raise RawTableError(f"{file}: this is no {file.suffix[1:]} file; {cure}")
    unreadable = sum(character == "\ufffd" for character in start.decode("utf-8", errors="replace"))
    if unreadable > _MAX_UNREADABLE_SHARE * len(start):
        raise RawTableError(f"{file}: this is no {file.suffix[1:]} file; it is binary, or text in another encoding")


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def _numbered(frame: pd.DataFrame, start: int) -> pd.DataFrame:
    if FAULT_COLUMN not in frame:
        frame[FAULT_COLUMN] = pd.Series([None] * len(frame), dtype=object)
    frame[ROW_COLUMN] = range(start + 1, start + len(frame) + 1)
    return frame


@contextmanager
def _open_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    """One file; pq.read_table would take its folder's name for a partition."""
    with pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False) as parquet:
        yield parquet


def _parquet_names(parquet: pq.ParquetFile, file: Path) -> list[str]:
    names: list[str] = parquet.schema_arrow.names
    _check_names(names, file)
    return [name for name in names if not name.startswith("__index_level_")]


def _stream_parquet(
    file: Path, rows_per_frame: int, wanted: Container[int] | None, columns: Container[str] | None
) -> Iterator[tuple[int, pd.DataFrame]]:
    with _open_parquet(file) as parquet:
        names = [name for name in _parquet_names(parquet, file) if columns is None or name in columns]
        for number, table in enumerate(_exact_batches(parquet, rows_per_frame, names)):
            if wanted is None or number in wanted:
                yield number, _numbered(_parquet_frame(table, file), number * rows_per_frame)


def _exact_batches(parquet: pq.ParquetFile, num_rows: int, names: list[str]) -> Iterator[pa.Table]:
    """Tables of so many rows, but the last: pyarrow's own batches may end with a row group."""
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in parquet.iter_batches(num_rows, columns=names):
        waiting.append(batch)
        num_waiting += batch.num_rows
        while num_waiting >= num_rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, num_rows)
            waiting = table.slice(num_rows).to_batches()
            num_waiting -= num_rows
    if num_waiting:
        yield pa.Table.from_batches(waiting)


def _parquet_frame(table: pa.Table, file: Path) -> pd.DataFrame:
    _check_names(table.column_names, file)
    columns = zip(table.column_names, table.columns, strict=True)
    return pd.DataFrame(
        {name: _to_pandas(column) for name, column in columns if not name.startswith("__index_level_")},
        index=pd.RangeIndex(table.num_rows),
    )


def _to_pandas(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:  # bytes that are no UTF-8; Parquet writers do not all check
            cells = column.cast(pa.large_binary()).to_pylist()
            decoded = [cell if cell is None else cell.decode("utf-8", errors="surrogateescape") for cell in cells]
            return pd.Series(decoded, dtype=object)
    return column.to_pandas(integer_object_nulls=True)  # as floats, integers above 2**53 would lose their last digits


def _count_records(file: Path, required: Sequence[str]) -> tuple[list[str], int, int, str | None]:
    with _RECORDS[_suffix(file)](file, required) as (header, records):
        names = dict.fromkeys(header)
        num_rows = num_readable = 0
        first_fault = None
        for cells, fault in records:
            num_rows += 1
            num_readable += fault is None
            first_fault = first_fault or fault
            names.update(dict.fromkeys(cells))
    _check_names(list(names), file)
    return list(names), num_rows, num_readable, first_fault


@contextmanager
def _open_csv(file: Path, required: Sequence[str]) -> Iterator[Records]:
    """Read every cell as text: ``NA``, ``null`` and ``1.0`` are answers too. An empty cell is an empty text."""
    with _open_text(file, newline="") as stream:
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(stream, strict=True, delimiter="\t" if _suffix(file) == ".tsv" else ",")
        rows = _csv_rows(reader, file)
        header = next(rows, None)
        if header is None:
            raise EmptyTableError(f"{file}: the file is empty")
        if isinstance(header, str):
            raise RawTableError(f"{file}: the header cannot be read: {header}")
        names = [replace_surrogates(name.strip()) for name in header]
        _check_names(names, file)
        yield names, (_csv_record(row, names, reader.line_num) for row in rows)


def _csv_rows(reader: Any, file: Path) -> Iterator[list[str] | str]:
    """Yield each row, or what is wrong with it; empty lines are left out."""
    while True:
        first_line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):  # everything after the quote went into one cell
                raise RawTableError(
                    f"{file}: the quote opened in line {first_line} or later is never closed"
                ) from error
            yield str(error)
            continue
        if row:
            yield row


def _csv_record(row: list[str] | str, names: list[str], line: int) -> Record:
    if isinstance(row, str):
        return {}, f"unreadable near line {line}: {row}"
    if len(row) != len(names):
        return {}, f"{len(row)} cells near line {line}, the header has {len(names)}"
    return dict(zip(names, row, strict=True)), None


@contextmanager
def _open_json_lines(file: Path, required: Sequence[str]) -> Iterator[Records]:
    """Read one JSON object a line; a file that is one JSON list of objects is read too."""
    with _open_text(file, newline="\n") as stream:  # only \n ends a line: texts may hold U+2028 and the like
        if _first_character(stream) == "[":
            yield [], (_json_record(row, required) for row in _json_list(stream, file))
        else:
            yield [], (_json_line(line, required) for line in stream if line.strip())


def _json_list(stream: TextIO, file: Path) -> list[Any]:
    try:
        rows: list[Any] = json.load(stream)
    except (ValueError, RecursionError) as error:  # of numbers with thousands of digits, of lists within lists
        raise RawTableError(
            f"{file}: cannot be read as {file.suffix[1:]}: {_first_line(error)}; with one object a line instead of a "
            "list, only the rows that are wrong would be passed over"
        ) from error
    return rows


def _json_line(line: str, required: Sequence[str]) -> Record:
    try:
        return _json_record(json.loads(line), required)
    except (ValueError, RecursionError) as error:
        return {}, f"not a JSON object: {_first_line(error)}"


def _json_record(value: Any, required: Sequence[str]) -> Record:
    if not isinstance(value, dict):
        return {}, f"a JSON object was expected, not {type(value).__name__}"
    cells = {replace_surrogates(name): cell for name, cell in value.items()}
    if len(cells) < len(value):
        return {}, "two names in this object differ in lone surrogates only"
    absent = [name for name in required if name not in cells]
    return cells, f"no {' or '.join(map(repr, absent))} in this object" if absent else None


def _frame(records: list[Record], names: Sequence[str], file: Path) -> pd.DataFrame:
    """Build a frame without guessing types: cells keep theirs, absent ones are None."""
    found = list(dict.fromkeys([*names, *(name for cells, _ in records for name in cells)]))
    _check_names(found, file)
    columns = {name: pd.Series([cells.get(name) for cells, _ in records], dtype=object) for name in found}
    faults = pd.Series([fault for _, fault in records], dtype=object)
    return pd.DataFrame({**columns, FAULT_COLUMN: faults}, index=pd.RangeIndex(len(records)))


def _check_names(names: Sequence[str], file: Path) -> None:
    for name, number in Counter(names).items():
        if number > 1:
            raise RawTableError(f"{file}: {number} columns are called {name!r}; rename all but one")
        if name in INTERNAL_COLUMNS:
            raise RawTableError(f"{file}: the column name {name!r} is reserved; rename it")


def _open_text(file: Path, newline: str) -> TextIO:
    """Open UTF-8 with or without a mark; bytes that are none become lone surrogates, repaired row by row later."""
    return open(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _first_character(stream: TextIO) -> str:
    start = stream.tell()
    character = " "
    while character.isspace():
        character = stream.read(1)
    stream.seek(start)
    return character


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_RECORDS: dict[str, Callable[..., Any]] = {
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".jsonl": _open_json_lines,
    ".ndjson": _open_json_lines,
    ".json": _open_json_lines,
}
SUFFIXES = frozenset({_PARQUET, *_RECORDS})
"""Of the files that can be read."""
JSON_SUFFIXES = frozenset(suffix for suffix, opens in _RECORDS.items() if opens is _open_json_lines)
"""Of those whose every row names its columns itself."""
