"""Versions from the future: the last name is the newest version, so a clock that jumped back would hide results."""

import json
import logging
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError

import wsdm_arena
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.runs.ledger import LEDGER_NAME

logger = logging.getLogger(__name__)

_MAX_TAIL = 1 << 20
"""Bytes at the end of the ledger that are searched for its last line."""


def check_clock(run: PlannedRun) -> list[str]:
    """Refuse a run whose results would be older than some that are there: Kedro would load those in their place."""
    run_id, pinned = str(run.options.get("run_id") or ""), run.options.get("load_versions") or {}
    problems = []
    for name in run.outputs:
        dataset = run.catalog[name]
        if not run_id or name in pinned or not isinstance(dataset, AbstractVersionedDataset):
            continue
        later = [version for version in _versions(dataset) if version > run_id]
        if later:
            problems.append(
                f"{name}: its version {later[0]} ({Path(str(dataset._filepath), later[0])}) is later than this run, "
                f"{run_id}, and would be loaded in place of what this run saves"
            )
    if problems:
        problems.append("set the clock right and run again; if it is right, remove or rename these versions")
    return problems


def report_last_run(run: PlannedRun) -> list[str]:
    """Log if the last run was of another version of the package, or seems to lie in the future; never refuses."""
    last = _last_line(run.data_root / LEDGER_NAME)
    version, run_id = last.get("package_version"), last.get("run_id")
    if version and version != wsdm_arena.__version__:
        logger.info("%s was last used by wsdm-arena %s, this is %s", run.data_root, version, wsdm_arena.__version__)
    if isinstance(run_id, str) and run_id > str(run.options.get("run_id") or run_id):
        logger.warning(
            "the last run in %s was %s, this one is %s: did the clock jump back? What was done is told by the order of "
            "the ledger's lines, so nothing is lost",
            run.data_root,
            run_id,
            run.options["run_id"],
        )
    return []


def _versions(dataset: "AbstractVersionedDataset[Any, Any]") -> list[str]:
    """Names of an entry's versions, the last one first; none if it is not versioned."""
    if dataset._version is None:
        return []
    try:
        return dataset.list_versions(full_path=False)
    except DatasetError:
        return []


def _last_line(path: Path) -> dict[str, Any]:
    """The last whole line of the ledger; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MAX_TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            return record
    return {}
