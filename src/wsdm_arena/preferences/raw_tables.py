"""Raw tables as they come: one or many files of Parquet, CSV or JSON lines, read into one frame.

Nothing is interpreted here. A row that cannot be read stays as a row with a ``_fault``, so that
:mod:`wsdm_arena.preferences.battles` can count and explain it. Formats: :mod:`wsdm_arena.preferences.raw_rows`.
"""

import difflib
import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from wsdm_arena.preferences.raw_rows import (
    FAULT_COLUMN,
    FILE_COLUMN,
    INTERNAL_COLUMNS,
    JSON_SUFFIXES,
    ROW_COLUMN,
    SUFFIXES,
    RawTableError,
    read_frame,
    replace_surrogates,
    stream_frames,
)

__all__ = [
    "FAULT_COLUMN",
    "FILE_COLUMN",
    "INTERNAL_COLUMNS",
    "ROW_COLUMN",
    "TEXT_COLUMNS",
    "RawTableError",
    "check_columns",
    "check_first_rows",
    "describe_files",
    "explain_missing",
    "find_files",
    "read_raw_tables",
]

logger = logging.getLogger(__name__)

TEXT_COLUMNS = ("prompt", "response_a", "response_b")
_SHARED_COLUMNS = (*TEXT_COLUMNS, "winner")  # a file that lacks one of these cannot be joined to files that have it

_FIRST_ROWS = 1000

PathSpec = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


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
        table[FILE_COLUMN] = replace_surrogates(str(file))
        if "source" not in table:
            table["source"] = replace_surrogates(sources[file])
        logger.info("read %s: %d rows", file, len(table))
    return _concatenate(list(tables.values()))


def check_first_rows(file: Path, required: Callable[[Sequence[str]], Sequence[str]]) -> None:
    """Refuse a file that is no table, or lacks an obligatory column, by its first rows.

    JSON names the columns in every row, so rows after the first ones may have what those lack.

    Args:
        file: Of a known format.
        required: Obligatory columns, by those that are there.

    Raises:
        RawTableError: It is unreadable, of an unknown format, or not one of its first rows has an obligatory column.
    """
    _, frame = next(stream_frames(file, _FIRST_ROWS), (0, pd.DataFrame()))
    if frame.empty:
        raise RawTableError(f"{file}: the file holds no rows")
    if frame[FAULT_COLUMN].notna().all():
        return  # whoever reads it all knows more
    present = [str(column) for column in frame.columns if column not in INTERNAL_COLUMNS]
    needed = required(present)
    has_header = file.suffix.lower() not in JSON_SUFFIXES
    if not set(needed) <= set(present) and (has_header or len(frame) < _FIRST_ROWS):
        raise RawTableError(explain_missing(str(file), present, needed))


def check_columns(raw: pd.DataFrame, required: Sequence[str]) -> None:
    """Refuse a table that lacks an obligatory column.

    Raises:
        RawTableError: Names the files, the missing columns, those that are there and any that look like a misspelling.
    """
    missing = [column for column in required if column not in raw]
    if missing:
        present = [str(column) for column in raw.columns if column not in (*INTERNAL_COLUMNS, "source")]
        raise RawTableError(explain_missing(describe_files(raw), present, required))


def explain_missing(where: str, present: Sequence[str], required: Sequence[str]) -> str:
    """Say which obligatory columns are missing, which there are, and which of these look like a misspelling.

    Args:
        where: What lacks them.
        present: Names of the columns that are there.
        required: Names of the obligatory columns.
    """
    missing = [column for column in required if column not in present]
    spare = [column for column in present if column not in required]
    similar = {column: difflib.get_close_matches(column, spare, n=1) for column in missing}
    hints = [f"Is {matches[0]!r} meant to be {column!r}?" for column, matches in similar.items() if matches]
    separators = [mark for mark in ";\t|" if len(present) == 1 and mark in present[0]]
    cure = f"Separate columns by commas, not by {separators[0]!r}." if separators else "Rename the columns of the file."
    return (
        f"{where}: no column {' or '.join(map(repr, missing))}; there are {list(present)}. "
        f"Obligatory: {list(required)}. {' '.join([*([] if separators else hints), cure])}"
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
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
        if not found:
            raise RawTableError(f"{path}: this directory holds no table; known suffixes: {sorted(SUFFIXES)}")
        return found
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        kind = "no file matches this pattern" if glob.has_magic(str(path)) else "no such file"
        raise RawTableError(f"{path}: {kind}")
    return found


def _read(file: Path) -> pd.DataFrame:
    table = read_frame(file)
    if table.empty:
        raise RawTableError(f"{file}: the file holds no rows")
    if table[FAULT_COLUMN].notna().all():
        raise RawTableError(f"{file}: no row can be read as {file.suffix[1:]}; row 1: {table[FAULT_COLUMN].iloc[0]}")
    return table


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
