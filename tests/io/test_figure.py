import plotly.graph_objects as go
import pytest
from kedro.io import DatasetError, Version

from wsdm_arena.io.figure import FigureDataset


def test_a_figure_comes_back_as_it_was_saved(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "sub" / "f.json"))
    assert not dataset.exists()
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3.5, None], name="é"), layout={"title": {"text": "t"}})
    dataset.save(figure)
    assert dataset.exists()
    assert dataset.load() == figure
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["f.json"]


def test_a_save_that_fails_leaves_the_old_figure_and_nothing_else(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "f.json"))
    dataset.save(go.Figure(layout={"meta": 1}))
    with pytest.raises(DatasetError):
        dataset.save(go.Figure(layout={"meta": object()}))
    assert dataset.load().layout.meta == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_versions_are_kept_side_by_side(tmp_path):
    for version in ("1", "2"):
        dataset = FigureDataset(filepath=str(tmp_path / "f.json"), version=Version(None, version))
        dataset.save(go.Figure(layout={"meta": version}))
    assert FigureDataset(filepath=str(tmp_path / "f.json"), version=Version(None, None)).load().layout.meta == "2"
