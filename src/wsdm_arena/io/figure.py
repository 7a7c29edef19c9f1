"""Plotly figures as JSON, written atomically; Kedro-Viz previews them on their nodes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_datasets._typing import PlotlyPreview
from kedro_datasets.json import JSONDataset

from wsdm_arena.io.contents import files_of
from wsdm_arena.io.previews import NOTHING
from wsdm_arena.runs.files import replacing_file

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class FigureDataset(JSONDataset):
    """As ``plotly.JSONDataset``, but on a local disk where a killed run cannot leave a figure half written.

    plotly, half a second to import, is imported only when a figure is loaded.
    """

    def load(self) -> "Figure":
        """Read the figure."""
        import plotly.io

        return plotly.io.from_json(json.dumps(super().load()))

    def save(self, data: "Figure") -> None:
        """Write under a temporary name, then give the file its own."""
        with replacing_file(Path(str(self._get_save_path()))) as partial:
            data.write_json(partial)
        self._invalidate_cache()

    def preview(self) -> PlotlyPreview:
        """The figure as Kedro-Viz draws it: under the node's name, so without a title, which has no room there."""
        for path in files_of(self):
            figure = json.loads(path.read_text(encoding="utf-8"))
            figure.get("layout", {}).pop("title", None)
            return PlotlyPreview(figure)
        return NOTHING
