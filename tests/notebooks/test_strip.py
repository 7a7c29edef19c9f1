"""``scripts/strip_notebooks.py`` leaves text and code."""

import importlib.util
from pathlib import Path

import nbformat

SCRIPT = Path(__file__).parents[2] / "scripts" / "strip_notebooks.py"
SPEC = importlib.util.spec_from_file_location("strip_notebooks", SCRIPT)
strip_notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(strip_notebooks)


def test_a_notebook_that_was_run_is_stripped_once(tmp_path):
    output = nbformat.v4.new_output("stream", text="1\n")
    run = nbformat.v4.new_code_cell(
        "print(1)", outputs=[output], execution_count=3, id="one", metadata={"tags": ["parameters"], "scrolled": True}
    )
    text = nbformat.v4.new_markdown_cell("# Title", id="title")
    notebook = nbformat.v4.new_notebook(
        cells=[text, run], metadata={"language_info": {"name": "python", "version": "3.11.2"}, "widgets": {}}
    )
    path = tmp_path / "small.ipynb"
    nbformat.write(notebook, path)
    assert strip_notebooks.strip_file(path)
    after = nbformat.read(path, as_version=4)
    assert [cell.source for cell in after.cells] == ["# Title", "print(1)"]
    assert [cell.id for cell in after.cells] == ["title", "one"]
    assert (after.cells[1].outputs, after.cells[1].execution_count) == ([], None)
    assert after.cells[1].metadata == {"tags": ["parameters"]}
    assert set(after.metadata) == {"kernelspec", "language_info"}
    assert not strip_notebooks.strip_file(path)


def test_what_is_committed_is_stripped_already():
    for path in strip_notebooks.NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        before = nbformat.writes(notebook)
        strip_notebooks.strip(notebook)
        assert nbformat.writes(notebook) == before, f"{path}: make strip"
