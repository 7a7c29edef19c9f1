"""Disk space that a run needs before it is begun; cheap enough to be asked before every run."""

from collections.abc import Collection
from pathlib import Path

from wsdm_arena.config import ProjectConfig
from wsdm_arena.planning.jobs import Job
from wsdm_arena.planning.places import DataFolder
from wsdm_arena.planning.plan import make_plan


def required_bytes(config: ProjectConfig, data_root: Path, nodes: Collection[str]) -> int:
    """Estimate by how much the data folder grows at most while some nodes run, what is deleted again included.

    Rows are counted, nothing is read but the footers of tables. A training's resume state counts twice, as the newer
    one is complete before the older one goes; what an interrupted training has left already is subtracted. What the
    hub's cache grows by is no part of it.

    Args:
        config: The whole tree.
        data_root: The environment's data folder.
        nodes: Names of Kedro's nodes that will run.

    Raises:
        PlanError: The size of a judge or an answer model is nowhere to be found.
    """
    kept = peak = 0.0
    for job in make_plan(config, data_root, is_quick=True).jobs:
        if job.node in nodes:
            kept += job.final_bytes.value
            peak = max(peak, kept + max(job.running_bytes.value - _resume_bytes_there(job, data_root), 0.0))
    return int(peak)


def _resume_bytes_there(job: Job, data_root: Path) -> int:
    if job.kind != "training":
        return 0
    states = (run / "state" for run in DataFolder(data_root).training_runs(job.name))
    return sum(file.stat().st_size for state in states for file in state.rglob("*") if file.is_file())
