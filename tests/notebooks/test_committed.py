"""What is committed of a notebook: text and code, nothing of whoever ran it last."""

import itertools
import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.execution import NOTEBOOKS

COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?:/(?:home|Users|root|work|tmp|mnt|content)/|[A-Z]:\\\\)")
MAX_LINES = 22

pytestmark = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_there_are_no_outputs_and_no_counts(path):
    for cell in code_cells(path):
        assert cell.outputs == [], cell.id
        assert cell.execution_count is None, cell.id


def test_there_is_nothing_of_a_machine(path):
    assert not MACHINE_PATH.findall(path.read_text(encoding="utf-8"))
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata.language_info) == {"name"}  # and no version of Python
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, cell.id


def test_cells_are_short_and_named_and_explained(path):
    notebook = read(path)
    assert notebook.cells[0].source.startswith("# ")
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert re.fullmatch("[a-z][a-z0-9-]+", cell.id), f"{cell.id}: give the cell a name that says what it does"
        assert len(cell.source.splitlines()) <= MAX_LINES, cell.id
    tagged = [cell.id for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert tagged == ["parameters"]
    kinds = "".join("m" if cell.cell_type == "markdown" else "c" for cell in notebook.cells)
    assert "cccc" not in kinds  # text between


def test_every_figure_is_explained_just_before(path):
    cells = read(path).cells
    for before, cell in itertools.pairwise(cells):
        is_figure = cell.cell_type == "code" and re.search(r"\bpx\.|_plot\"\)|plot_\w+\(", cell.source)
        assert not is_figure or before.cell_type == "markdown", cell.id
