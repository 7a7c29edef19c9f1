"""The runner of notebooks sees what goes wrong in them."""

from pathlib import Path

import nbformat
import pytest

from tests.notebooks import execution
from tests.notebooks.execution import run_notebook

PARAMETERS = nbformat.v4.new_code_cell("number = 1", metadata={"tags": ["parameters"]})


def write(folder: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[PARAMETERS, *map(nbformat.v4.new_code_cell, cells)])
    nbformat.write(notebook, folder / "small.ipynb")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(execution, "NOTEBOOKS", tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


def run(folder: Path, number: int = 2, first: str = "") -> dict:
    out = folder / "out"
    return run_notebook(
        "small.ipynb", cwd=out, parameters={"number": number}, results={"twice": "twice"}, keep=out, first=first
    )


def test_parameters_go_in_and_results_come_back(folder):
    write(folder, "twice = number * 2")
    assert run(folder, first="number = 100") == {"twice": 4}
    executed = nbformat.read(folder / "out" / "small.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3, 4, 5]


def test_an_error_is_raised_and_shown_though_rich_draws_it(folder):
    write(folder, "import rich.traceback; rich.traceback.install()", "twice = number / 0", "twice = 1")
    with pytest.raises(AssertionError, match=r"(?s)twice = number / 0.*ZeroDivisionError"):
        run(folder)
    assert not (folder / "out" / "small.ipynb.results.json").exists()


def test_a_parameter_that_is_none_is_refused(folder):
    write(folder, "twice = 1")
    with pytest.raises(AssertionError, match="no parameter nummer"):
        run_notebook("small.ipynb", cwd=folder, parameters={"nummer": 2}, results={}, keep=folder / "out")
