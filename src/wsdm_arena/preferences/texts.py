"""Cells of raw text columns: whatever stands in them becomes a valid text or null."""

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from wsdm_arena.preferences.raw_rows import replace_surrogates
from wsdm_arena.preferences.row_report import RowReport

_INT64 = np.iinfo(np.int64)
_LOSSY_FLOAT = "a float above 2**53 read as a whole number, whose last digits may be lost"
_SAFE_BITS = 2_000
"""Whole numbers below 2**2000 are written in decimal whatever ``sys.set_int_max_str_digits`` says: its least is 640."""
_UNREADABLE = "\ufffd"
_TOO_DEEP = "a value nested too deep to be read replaced by U+FFFD"
_USER_TURN = re.compile(r"^User:", flags=re.MULTILINE)


def clean_texts(column: pd.Series, report: RowReport) -> list[str | None]:
    """Turn a column of texts into valid Unicode texts, null where a cell is empty of any value.

    Empty texts stay empty. Numbers and booleans become their digits, lists and records JSON, bytes UTF-8, and halves of
    surrogate pairs U+FFFD; each kind of repair is reported under the column's name.
    """
    if isinstance(column.dtype, pd.StringDtype):  # cannot hold anything but valid texts and null
        return _nulls_to_none(column)
    return _clean_cells(column, lambda cell, repairs: _clean_text(cell, repairs), report)


def clean_names(column: pd.Series, report: RowReport) -> list[str | None]:
    """The same for ids and names of models: whole numbers lose their ``.0``, and blank cells are null."""
    texts = _clean_cells(
        column, _clean_name, report, report_kinds=("what is not UTF-8 replaced by U+FFFD", _LOSSY_FLOAT)
    )
    return [text if text is not None and text.strip() else None for text in texts]


def count_turns(prompt: str | None) -> int:
    """Count the user's turns in a prompt flattened as ``User: ... Assistant: ... User: ...``.

    Lines that begin with ``User:`` are turns when the prompt itself begins so; any other prompt is one turn.
    """
    if prompt is None or not prompt.startswith("User:"):
        return 1
    return len(_USER_TURN.findall(prompt))


def storable_column(column: pd.Series) -> pd.Series:
    """Make a column fit for Parquet: one of mixed types, of lists or of records becomes JSON text."""
    if column.dtype != object:
        return column
    cells = _nulls_to_none(column)
    if all(cell is None or isinstance(cell, str) for cell in cells):
        return pd.Series([cell and replace_surrogates(cell) for cell in cells], index=column.index, dtype="str")
    if all(cell is None or isinstance(cell, bool) for cell in cells):
        return column
    numbers = [cell for cell in cells if cell is not None]
    if all(type(cell) is int for cell in numbers):
        return _integer_column(column, cells)
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in numbers):
        return pd.to_numeric(column)
    return pd.Series([None if cell is None else _to_json(cell) for cell in cells], index=column.index, dtype="str")


def _integer_column(column: pd.Series, cells: list[int | None]) -> pd.Series:
    """No floats, in which integers above 2**53 would lose digits; texts where 64 bits do not hold them."""
    if all(cell is None or _INT64.min <= cell <= _INT64.max for cell in cells):
        return pd.Series(pd.array(cells, dtype="Int64" if None in cells else "int64"), index=column.index)
    return pd.Series([None if cell is None else _to_text(cell) for cell in cells], index=column.index, dtype="str")


def is_text(column: pd.Series) -> np.ndarray:
    """Tell which cells hold a text, or the bytes of one; booleans, ``(num_rows,)``."""
    if isinstance(column.dtype, pd.StringDtype):
        return column.notna().to_numpy(dtype=bool)
    return np.fromiter((isinstance(cell, str | bytes) for cell in column), dtype=bool, count=len(column))


def is_null(column: pd.Series) -> np.ndarray:
    """Tell which cells hold nothing; booleans, ``(num_rows,)``."""
    return np.fromiter((cell is None for cell in _nulls_to_none(column)), dtype=bool, count=len(column))


def _clean_cells(
    column: pd.Series,
    clean: Callable[[Any, set[str]], str],
    report: RowReport,
    report_kinds: Sequence[str] | None = None,
) -> list[str | None]:
    texts: list[str | None] = []
    repaired: dict[str, np.ndarray] = {}
    for position, cell in enumerate(_nulls_to_none(column)):
        repairs: set[str] = set()
        texts.append(None if cell is None else clean(cell, repairs))
        for kind in repairs:
            repaired.setdefault(kind, np.zeros(len(column), dtype=bool))[position] = True
    for kind, mask in repaired.items():
        if report_kinds is None or kind in report_kinds:
            report.repair(mask, f"{column.name}: {kind}")
    return texts


def _clean_text(cell: Any, repairs: set[str]) -> str:
    if isinstance(cell, str):
        text = cell
    elif isinstance(cell, bytes):
        repairs.add("bytes read as UTF-8")
        text = cell.decode("utf-8", errors="surrogateescape")
    elif isinstance(cell, list | tuple | dict | np.ndarray):
        text = _to_json(cell)
        repairs.add("a list or record read as JSON" if text != _UNREADABLE else _TOO_DEEP)
    else:
        text = _to_text(cell)
        repairs.add(f"{type(cell).__name__} read as text" if text != _UNREADABLE else _TOO_DEEP)
    if (valid := replace_surrogates(text)) != text:
        repairs.add("what is not UTF-8 replaced by U+FFFD")
    return valid


def _clean_name(cell: Any, repairs: set[str]) -> str:
    if isinstance(cell, float | np.floating) and float(cell).is_integer():  # whole numbers in a column with nulls
        if abs(float(cell)) > 2**53:
            repairs.add(_LOSSY_FLOAT)
        return str(int(cell))
    return _clean_text(cell, repairs)


def _nulls_to_none(column: pd.Series) -> list[Any]:
    """List the cells; None, NaN, NaT and NA all become None."""
    cells = column.astype(object)
    return [None if missing else cell for cell, missing in zip(cells, cells.isna(), strict=True)]


def _to_text(value: Any) -> str:
    """``str``, also of whole numbers that have more digits than Python writes at once."""
    try:
        return str(value)
    except ValueError:
        return format(Decimal(value), "f") if isinstance(value, int) else _UNREADABLE
    except RecursionError:
        return _UNREADABLE


def _to_json(value: Any) -> str:
    """JSON of anything; U+FFFD of what is nested too deep."""
    try:
        try:
            text = json.dumps(value, ensure_ascii=False, default=_json_default)
        except (TypeError, ValueError):  # names that are no texts, numbers with thousands of digits
            text = json.dumps(_plain(value), ensure_ascii=False, default=_json_default)
    except RecursionError:
        return _UNREADABLE
    return replace_surrogates(text)


def _plain(value: Any) -> Any:
    """The same with texts for all that JSON does not take."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _to_text(key): _plain(cell) for key, cell in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(cell) for cell in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, int) and value.bit_length() > _SAFE_BITS:
        return _to_text(value)
    return value


def _json_default(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else _to_text(value)
