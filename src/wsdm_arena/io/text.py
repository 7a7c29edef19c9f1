"""JSON and plain text, written atomically."""

import json
from pathlib import Path
from typing import Any

from kedro_datasets.json import JSONDataset
from kedro_datasets.text import TextDataset

from wsdm_arena.io.contents import files_of
from wsdm_arena.io.previews import (
    NOTHING,
    JSONPreview,
    TablePreview,
    TextPreview,
    preview_json,
    preview_records,
    preview_text,
)
from wsdm_arena.runs.files import replacing_file


class AtomicJSONDataset(JSONDataset):
    """``json.JSONDataset`` on a local disk, which a killed run cannot leave half written."""

    def save(self, data: Any) -> None:
        """Write under a temporary name, then give the file its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            partial.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._invalidate_cache()

    def preview(self) -> JSONPreview:
        """The document, with the beginnings of its lists and texts, as Kedro-Viz draws it."""
        return next((preview_json(_read_json(path)) for path in files_of(self)), NOTHING)


class RecordsDataset(AtomicJSONDataset):
    """A JSON list of flat objects, such as rows of the scoreboard: Kedro-Viz shows it as a table."""

    def preview(self, nrows: int = 100) -> TablePreview:
        """The first objects as rows."""
        return next((preview_records(_read_json(path), nrows) for path in files_of(self)), NOTHING)


class AtomicTextDataset(TextDataset):
    """``text.TextDataset`` on a local disk, which a killed run cannot leave half written."""

    def save(self, data: str) -> None:
        """Write under a temporary name, then give the file its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            partial.write_text(data, encoding="utf-8")
        self._invalidate_cache()

    def preview(self) -> TextPreview:
        """The text's beginning as Kedro-Viz draws it."""
        return next((preview_text(path) for path in files_of(self)), NOTHING)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
