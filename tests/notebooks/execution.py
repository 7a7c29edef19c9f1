"""Runs a committed notebook from top to bottom in a kernel of its own, with other parameters than its own."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;.*?\x1b\\")
"""Colours and links of terminals."""


def run_notebook(
    name: str,
    *,
    cwd: Path,
    parameters: Mapping[str, Any],
    results: Mapping[str, str],
    keep: Path,
    first: str = "",
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Execute every cell, in order.

    Args:
        name: File in ``notebooks/``.
        cwd: Working directory of the kernel.
        parameters: Assigned after the cell tagged ``parameters``, which must assign all of them too.
        results: What to bring back when all is done, by name: expressions whose values JSON can hold.
        keep: Folder where the executed notebook and the results go.
        first: A cell to run before all others.
        env: Variables of the kernel beside those of this process.

    Returns:
        Values of ``results``.

    Raises:
        AssertionError: A cell raised; the message shows the cell and what it put out.
    """
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    brought = keep / f"{name}.results.json"
    insert_parameters(notebook, parameters)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    values = ", ".join(f"{key!r}: {expression}" for key, expression in results.items())
    last = f"import json, pathlib\npathlib.Path({str(brought)!r}).write_text(json.dumps({{{values}}}))"
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(cwd)}})
    own = {key: value for key, value in os.environ.items() if key not in ("KEDRO_ENV", "PYTHONPATH")}
    quiet = {"OMP_NUM_THREADS": "1", "KEDRO_DISABLE_TELEMETRY": "1"}
    try:
        client.execute(env=own | quiet | dict(env or {}))
    except CellExecutionError as error:  # after %load_ext kedro.ipython the error itself is among the outputs
        raise AssertionError(f"{name}: {error}\n{outputs_of_last_cell(notebook)}") from None
    finally:
        nbformat.write(notebook, keep / name)
    return json.loads(brought.read_text())


def insert_parameters(notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Put a cell with other values behind the one that is tagged; all of them must stand there already."""
    (position,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    known = notebook.cells[position].source
    for parameter in parameters:
        assert f"\n{parameter} = " in f"\n{known}", f"there is no parameter {parameter}"
    assigned = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    notebook.cells.insert(position + 1, nbformat.v4.new_code_cell(assigned))


def outputs_of_last_cell(notebook: nbformat.NotebookNode) -> str:
    """The texts that the cell which was run last has put out."""
    run = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.get("outputs")]
    outputs = run[-1].outputs if run else []
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return ESCAPES.sub("", "\n".join(texts))
