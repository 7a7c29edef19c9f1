"""Files of one's own that are no tables, or lack columns."""

from collections.abc import Callable, Mapping, Sequence

from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.preferences.battles import required_columns
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS, RawTableError, check_first_rows
from wsdm_arena.preflight.planned_run import PlannedRun

_REQUIRED: Mapping[str, Callable[[Sequence[str]], Sequence[str]]] = {
    "train_table": required_columns,
    "test_table": lambda present: TEXT_COLUMNS,
    "collected_pairs_table": lambda present: TEXT_COLUMNS,
}
"""Obligatory columns of raw tables, by those that are there."""


def check_raw_tables(run: PlannedRun) -> list[str]:
    """One line for each file that the nodes which would run would refuse, by its first rows."""
    made = {name for node in run.pipeline.nodes for name in node.outputs}
    read = {name for node in run.nodes for name in node.inputs} - made
    return [line for name in _REQUIRED if name in read for line in _check(run, name)]


def _check(run: PlannedRun, name: str) -> list[str]:
    dataset, lines = run.catalog[name], []
    if not isinstance(dataset, RawTableDataset):
        return []
    for file in dataset.present_files():
        try:
            check_first_rows(file, _REQUIRED[name])
        except RawTableError as error:
            lines.append(f"{name}: {error}")
    return lines
