"""Disk space that a run needs before it is begun; cheap enough to be asked before every run."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.config import ProjectConfig
from wsdm_arena.planning.jobs import Job
from wsdm_arena.planning.places import DataFolder
from wsdm_arena.planning.plan import make_plan


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that are free now and will not be.

    Attributes:
        peak: Most that the data folder grows by at any time, what is deleted again included.
        final: What it has grown by at the end.
        hub: What the hub's cache grows by, wherever that lies, if nothing of it is there yet.
        job: At which job the peak is reached; empty if nothing is needed.
    """

    peak: int
    final: int
    hub: int
    job: str


def required_bytes(config: ProjectConfig, data_root: Path, nodes: Collection[str] | None = None) -> DiskNeed:
    """Estimate the disk space that the jobs still to be done need.

    Rows are counted, nothing is read but the footers of tables. A training's resume state counts twice, as the newer
    one is complete before the older one goes; what an interrupted training has left already is subtracted.

    Args:
        config: The whole tree.
        data_root: The environment's data folder.
        nodes: Names of Kedro's nodes that will run; None: those of all jobs whose result is not on disk.

    Raises:
        PlanError: The size of a judge or an answer model is nowhere to be found.
    """
    jobs = [
        job
        for job in make_plan(config, data_root, is_quick=True).jobs
        if (job.state != "there" if nodes is None else job.node in nodes)
    ]
    kept, peak, at = 0.0, 0.0, ""
    for job in jobs:
        kept += job.final_bytes.value
        needed = kept + max(job.running_bytes.value - _resume_bytes_there(job, data_root), 0.0)
        if needed > peak:
            peak, at = needed, job.name
    return DiskNeed(peak=int(peak), final=int(kept), hub=int(sum(job.hub_bytes.value for job in jobs)), job=at)


def _resume_bytes_there(job: Job, data_root: Path) -> int:
    if job.kind != "training":
        return 0
    states = (run / "state" for run in DataFolder(data_root).training_runs(job.name))
    return sum(file.stat().st_size for state in states for file in state.rglob("*") if file.is_file())
