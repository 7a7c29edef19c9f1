"""Whether there is room for what a run makes, and whether it can be written at all."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from wsdm_arena.errors import UserError
from wsdm_arena.planning.disk import required_bytes
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.runs.sizes import show_bytes

logger = logging.getLogger(__name__)

_PROBE = bytes(1 << 16)
"""What is written to see whether anything can be: more than a file system keeps aside for names."""


def check_space(run: PlannedRun) -> list[str]:
    """Compare what the nodes that would run are estimated to need with what is free.

    What the hub's cache grows by is left out: it may lie on another disk, and hold the weights already. While inputs
    are missing the estimate would rest on assumptions about them.
    """
    if not run.names or run.missing_inputs:
        return []
    try:
        needed = required_bytes(run.config, run.data_root, run.names)
    except UserError as error:
        logger.info("the disk space that the run needs is not known: %s", error)
        return []
    free = shutil.disk_usage(existing_folder(run.data_root)).free
    if needed <= free:
        return []
    return [
        f"{run.data_root}: the run needs about {show_bytes(needed)}, {show_bytes(free)} are free; `kedro clean` shows "
        "what could go, --params data_root=<folder> takes another disk"
    ]


def check_writable(run: PlannedRun) -> list[str]:
    """Refuse folders that nothing can be written to, and a disk that is full."""
    problems = []
    if run.names:
        folder = existing_folder(run.data_root)
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(_PROBE)
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            return [
                f"{folder}: nothing can be written there ({error.strerror or error}); make it writable and make room, "
                "or name another place: --params data_root=<folder>"
            ]
    for folder in _output_folders(run):
        if not os.access(folder, os.W_OK | os.X_OK):
            problems.append(f"{folder}: nothing can be written there; make it writable")
    return problems


def existing_folder(path: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _output_folders(run: PlannedRun) -> list[Path]:
    paths = (getattr(run.catalog[name], "_filepath", None) for name in run.outputs)
    return sorted({existing_folder(Path(str(path)).parent) for path in paths if path is not None})
