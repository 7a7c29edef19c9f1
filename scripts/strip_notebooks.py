"""Take out of notebooks what only the machine knows that ran them: outputs, counts, versions.

    .venv/bin/python scripts/strip_notebooks.py    # all in notebooks/; prints those that it changed

Text, code, names and tags of cells stay.
"""

import sys
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def strip(notebook: nbformat.NotebookNode) -> None:
    """Leave text and code alone in a notebook."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def strip_file(path: Path) -> bool:
    """Strip a file; whether anything had to be written."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    strip(notebook)
    after = nbformat.writes(notebook) + "\n"
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


if __name__ == "__main__":
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        if strip_file(file):
            sys.stdout.write(f"stripped {file}\n")
