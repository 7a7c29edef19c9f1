"""Raw tables as they come: one or many files of Parquet, CSV or JSON lines, read into one frame.

Nothing is interpreted here but the file formats. A row that cannot be read stays as a row with a ``_fault``, so that
:mod:`wsdm_arena.preferences.battles` can count and explain it.
"""

import csv
import difflib
import glob
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wsdm_arena.errors import UserError

logger = logging.getLogger(__name__)

FILE_COLUMN = "_file"
"""Path of the file a row comes from."""
ROW_COLUMN = "_row"
"""Number of the row in its file, from 1; a CSV's header is not counted."""
FAULT_COLUMN = "_fault"
"""Why the row could not be read; null where it could."""
INTERNAL_COLUMNS = (FILE_COLUMN, ROW_COLUMN, FAULT_COLUMN)

TEXT_COLUMNS = ("prompt", "response_a", "response_b")
_SHARED_COLUMNS = (*TEXT_COLUMNS, "winner")  # a file that lacks one of these cannot be joined to files that have it

PathSpec = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class RawTableError(UserError, ValueError):
    """A raw file is missing, unreadable or not the table it should be; nothing was processed."""


def find_files(spec: PathSpec, *, relative_to: Path | None = None) -> list[Path]:
    """Resolve a description of raw files.

    Args:
        spec: A path, a glob pattern, a directory (every table in it, not in sub-directories), several of these
            separated by commas, or a list of them.
        relative_to: Directory that relative paths start from; the working directory by default.

    Returns:
        Existing files in the order given, those of a pattern or directory sorted by name; each file once.

    Raises:
        RawTableError: A part names no file; the message says which.
    """
    files: dict[Path, Path] = {}
    for part in _split(spec, relative_to or Path.cwd()):
        for file in _expand(part):
            files.setdefault(file.resolve(), Path(os.path.abspath(file)))  # a link keeps its own name and suffix
    if not files:
        raise RawTableError("no raw file was named")
    return list(files.values())


def read_raw_tables(files: Iterable[Path]) -> pd.DataFrame:
    """Read files into one frame, in the order given.

    Beside their own columns, rows carry ``_file``, ``_row`` and ``_fault``, and ``source``: the name of their file
    without its suffix, unless the file has a column of that name.

    Raises:
        RawTableError: A file is unreadable, of an unknown format, without rows or columns, or lacks a column that
            the others have.
    """
    tables = {file: _read(file) for file in files}
    _check_shared_columns(tables)
    sources = _source_names(list(tables))
    for file, table in tables.items():
        table[FILE_COLUMN] = str(file)
        if "source" not in table:
            table["source"] = sources[file]
        logger.info("read %s: %d rows", file, len(table))
    return _concatenate(list(tables.values()))


def check_columns(raw: pd.DataFrame, required: Sequence[str]) -> None:
    """Refuse a table that lacks an obligatory column.

    Raises:
        RawTableError: Names the files, the missing columns, those that are there and any that look like a misspelling.
    """
    missing = [column for column in required if column not in raw]
    if not missing:
        return
    present = [str(column) for column in raw.columns if column not in (*INTERNAL_COLUMNS, "source")]
    spare = [column for column in present if column not in required]
    similar = {column: difflib.get_close_matches(column, spare, n=1) for column in missing}
    hints = [f"Is {matches[0]!r} meant to be {column!r}?" for column, matches in similar.items() if matches]
    raise RawTableError(
        f"{describe_files(raw)}: no column {' or '.join(map(repr, missing))}; there are {present}. "
        f"Obligatory: {list(required)}. {' '.join([*hints, 'Rename the columns of the file.'])}"
    )


def describe_files(raw: pd.DataFrame) -> str:
    """Name the files that a frame was read from, for messages."""
    if FILE_COLUMN not in raw:
        return "the table"
    names = [str(name) for name in raw[FILE_COLUMN].unique()]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _split(spec: PathSpec, start: Path) -> list[Path]:
    parts = [spec] if isinstance(spec, str | os.PathLike) else list(spec)
    paths = []
    for part in parts:
        whole = start / Path(part).expanduser()
        if whole.exists() or not isinstance(part, str):
            paths.append(whole)  # a name may contain a comma or a bracket
        else:
            paths.extend(start / Path(piece.strip()).expanduser() for piece in re.split("[,;]", part) if piece.strip())
    return paths


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in _READERS and file.name[0] != ".")
        if not found:
            raise RawTableError(f"{path}: this directory holds no table; known suffixes: {sorted(_READERS)}")
        return found
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        kind = "no file matches this pattern" if glob.has_magic(str(path)) else "no such file"
        raise RawTableError(f"{path}: {kind}")
    return found


def _read(file: Path) -> pd.DataFrame:
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise RawTableError(f"{file}: unknown format {file.suffix!r}; known suffixes: {sorted(_READERS)}")
    try:
        table = reader(file)
    except (OSError, pa.ArrowException, UnicodeError, json.JSONDecodeError) as error:
        raise RawTableError(f"{file}: cannot be read as {file.suffix[1:]}: {_first_line(error)}") from error
    if table.empty:
        raise RawTableError(f"{file}: the file holds no rows")
    if FAULT_COLUMN not in table:
        table[FAULT_COLUMN] = pd.Series([None] * len(table), dtype=object)
    if table[FAULT_COLUMN].notna().all():
        raise RawTableError(f"{file}: no row can be read as {file.suffix[1:]}; row 1: {table[FAULT_COLUMN].iloc[0]}")
    table[ROW_COLUMN] = range(1, len(table) + 1)
    return table


def _read_parquet(file: Path) -> pd.DataFrame:
    table = pq.ParquetFile(file).read()  # one file; pq.read_table would take its folder's name for a partition
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


def _read_csv(file: Path) -> pd.DataFrame:
    """Read every cell as text: ``NA``, ``null`` and ``1.0`` are answers too. An empty cell is an empty text."""
    with _open_text(file, newline="") as stream:
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(stream, strict=True, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        rows = _csv_rows(reader, file)
        header = next(rows, None)
        if header is None:
            raise RawTableError(f"{file}: the file is empty")
        if isinstance(header, str):
            raise RawTableError(f"{file}: the header cannot be read: {header}")
        names = [name.strip() for name in header]
        _check_names(names, file)
        return _frame([_csv_record(row, names, reader.line_num) for row in rows], file)


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


def _csv_record(row: list[str] | str, names: list[str], line: int) -> dict[str, Any] | str:
    if isinstance(row, str):
        return f"unreadable near line {line}: {row}"
    if len(row) != len(names):
        return f"{len(row)} cells near line {line}, the header has {len(names)}"
    return dict(zip(names, row, strict=True))


def _read_json_lines(file: Path) -> pd.DataFrame:
    """Read one JSON object a line; a file that is one JSON list of objects is read too."""
    with _open_text(file, newline="\n") as stream:  # only \n ends a line: texts may hold U+2028 and the like
        if _first_character(stream) == "[":
            return _frame([_json_record(row) for row in json.load(stream)], file)
        return _frame([_json_line(line) for line in stream if line.strip()], file)


def _json_line(line: str) -> dict[str, Any] | str:
    try:
        return _json_record(json.loads(line))
    except (ValueError, RecursionError) as error:
        return f"not a JSON object: {_first_line(error)}"


def _json_record(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else f"a JSON object was expected, not {type(value).__name__}"


def _frame(records: list[dict[str, Any] | str], file: Path) -> pd.DataFrame:
    """Build a frame without guessing types: cells keep theirs, absent ones are None; a text is a row's fault."""
    rows = [{} if isinstance(record, str) else record for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    _check_names(names, file)
    cells = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    faults = [record if isinstance(record, str) else None for record in records]
    return pd.DataFrame({**cells, FAULT_COLUMN: pd.Series(faults, dtype=object)}, index=pd.RangeIndex(len(records)))


def _check_names(names: list[str], file: Path) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise RawTableError(f"{file}: {count} columns are called {name!r}; rename all but one")
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


def _check_shared_columns(tables: dict[Path, pd.DataFrame]) -> None:
    for column in _SHARED_COLUMNS:
        without = [file for file, table in tables.items() if column not in table]
        if without and len(without) < len(tables):
            present = [name for name in tables[without[0]].columns if name not in INTERNAL_COLUMNS]
            raise RawTableError(
                f"{without[0]}: no column {column!r}, which other files of the same table have; there are {present}. "
                "Give the files the same columns, or leave this one out."
            )


def _concatenate(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put one table below another; integers stay integers where another table lacks the column or has floats in it."""
    names = dict.fromkeys(name for table in tables for name in table)
    for name in names:
        dtypes = {table[name].dtype if name in table else None for table in tables}
        if len(dtypes) == 1:
            continue
        for table in tables:
            if name in table and pd.api.types.is_integer_dtype(table[name].dtype):
                table[name] = table[name].astype(object)
    return pd.concat(tables, ignore_index=True)


def _source_names(files: list[Path]) -> dict[Path, str]:
    """Name each file by its stem, preceded by its folder where two stems are equal."""
    counts = Counter(file.stem for file in files)
    return {file: file.stem if counts[file.stem] == 1 else f"{file.parent.name}/{file.name}" for file in files}


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json_lines,
}
