"""What Kedro-Viz shows of an entry when its node is clicked: a few rows, short texts, safe for any browser.

Kedro-Viz chooses how to draw a preview by the *name of the type* that ``preview`` is annotated to return, so an
annotation has to be one of these types by itself. An entry that has no file yet returns :data:`NOTHING`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, NewType

import numpy as np
import pandas as pd
from kedro_datasets._typing import JSONPreview, TablePreview

from wsdm_arena.preferences.raw_rows import INTERNAL_COLUMNS, stream_frames

__all__ = [
    "NOTHING",
    "JSONPreview",
    "TablePreview",
    "TextPreview",
    "preview_file",
    "preview_json",
    "preview_records",
    "preview_text",
]

TextPreview = NewType("TextPreview", str)
"""Drawn as it is, in a font of fixed width; kedro-datasets has no name for it."""

NOTHING: Any = None
"""Of an entry without a file."""

MAX_CELL_CHARACTERS = 160
MAX_ITEMS = 8
"""Of a list in a cell."""
MAX_PREVIEW_CHARACTERS = 200_000
"""Of a JSON document or a text: what a browser draws at once."""
_MAX_SAFE_INTEGER = 2**53 - 1  # JavaScript's
_ABSENT = "–"  # a browser would write "null"
_LONG_HASH = re.compile(r"[0-9a-f]{24,}")  # three columns of them would leave no room for texts
_HASH_CHARACTERS = 12
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # with what turns the reading order


def preview_file(path: Path, nrows: int) -> TablePreview:
    """Read the first rows of a table, whatever its size.

    Args:
        path: Parquet, CSV or JSON lines.
        nrows: How many rows.
    """
    first = next(stream_frames(path, nrows), None)
    frame = pd.DataFrame() if first is None else first[1].drop(columns=list(INTERNAL_COLUMNS), errors="ignore")
    return _table([str(name) for name in frame.columns], frame.itertuples(index=False, name=None))


def preview_records(records: Iterable[Mapping[str, Any]], nrows: int) -> TablePreview:
    """Draw JSON objects as the rows of a table whose columns are all their keys."""
    rows = list(islice(records, nrows))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return _table(columns, ([row.get(name) for name in columns] for row in rows))


def preview_json(document: Any) -> JSONPreview:
    """Draw a JSON document; long lists and texts are cut until it is short enough to be drawn at once."""
    text = "{}"
    for max_items in (100, 20, 5, 1):
        text = json.dumps(_short(document, max_items), ensure_ascii=False)
        if len(text) <= MAX_PREVIEW_CHARACTERS:
            return JSONPreview(text)
    return JSONPreview(json.dumps(f"{len(text)} characters even when cut: too long to be shown here"))


def preview_text(path: Path) -> TextPreview:
    """Draw the beginning of a text file."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(MAX_PREVIEW_CHARACTERS + 1)
    return TextPreview(_printable(_cut(text, MAX_PREVIEW_CHARACTERS)))


def _table(columns: list[str], rows: Iterable[Iterable[Any]]) -> TablePreview:
    data = [[_cell(value) for value in row] for row in rows]
    names = [_printable(_cut(name)) for name in columns]
    return TablePreview({"index": list(range(len(data))), "columns": names, "data": data})


def _cell(value: Any) -> str | int | float:
    """One value as a table shows it: JavaScript would round large integers and leave out truth values."""
    value = _plain(value)
    if value is None:
        return _ABSENT
    if isinstance(value, Mapping | list):
        return _printable(_cut(json.dumps(_short(value, MAX_ITEMS), ensure_ascii=False).replace('"', "")))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) > _MAX_SAFE_INTEGER:
        return str(value)
    if isinstance(value, str):
        return value[:_HASH_CHARACTERS] + "…" if _LONG_HASH.fullmatch(value) else _printable(_cut(value))
    return value


def _short(value: Any, max_items: int) -> Any:
    """A JSON document with the beginnings of its lists and texts, of inner lists less; what is left out is counted."""
    value = _plain(value)
    match value:
        case str():
            return _printable(_cut(value))
        case Mapping():
            cut = {_printable(_cut(str(key))): _short(item, max_items) for key, item in islice(value.items(), 100)}
            return cut if len(value) <= 100 else cut | {"…": f"{len(value) - 100} more"}
        case list():
            beginning = [_short(item, max(1, max_items // 4)) for item in value[:max_items]]  # lists of lists multiply
            return beginning if len(value) <= max_items else [*beginning, f"… {len(value) - max_items} more"]
        case int() if not isinstance(value, bool) and abs(value) > _MAX_SAFE_INTEGER:
            return str(value)
        case _:
            return value


def _plain(value: Any) -> Any:
    """A value as JSON knows it: a text, number, truth value, mapping, list or None; figures of four digits."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else (None if math.isnan(value) else str(value))
    if value is None or isinstance(value, str | int | Mapping):
        return value
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, date) and not pd.isna(value):
        return value.isoformat()
    if isinstance(value, Iterable):
        return list(value)
    return None if value is pd.NaT or value is pd.NA else str(value)


def _cut(text: str, length: int = MAX_CELL_CHARACTERS) -> str:
    return text if len(text) <= length else text[:length] + "…"


def _printable(text: str) -> str:
    """Put a replacement character in the place of control characters and of halves of surrogate pairs."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.encode("utf-8", "replace").decode("utf-8"))
