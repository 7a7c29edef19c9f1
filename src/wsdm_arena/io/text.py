"""JSON and plain text, written atomically."""

import json
from pathlib import Path
from typing import Any

from kedro_datasets.json import JSONDataset
from kedro_datasets.text import TextDataset

from wsdm_arena.runs.files import replacing_file


class AtomicJSONDataset(JSONDataset):
    """``json.JSONDataset`` on a local disk, which a killed run cannot leave half written."""

    def save(self, data: Any) -> None:
        """Write under a temporary name, then give the file its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            partial.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._invalidate_cache()


class AtomicTextDataset(TextDataset):
    """``text.TextDataset`` on a local disk, which a killed run cannot leave half written."""

    def save(self, data: str) -> None:
        """Write under a temporary name, then give the file its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            partial.write_text(data, encoding="utf-8")
        self._invalidate_cache()
