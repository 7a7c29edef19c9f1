"""Every job of the project in the recipe's order, with what it takes, and their totals."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wsdm_arena.config import Lineup, ProjectConfig, Training, package_of
from wsdm_arena.planning.backbones import JudgeSize, measure_judge
from wsdm_arena.planning.figures import Basis, Figure, total
from wsdm_arena.planning.generation_jobs import GenerationPlanner
from wsdm_arena.planning.jobs import NOTHING, Job, Totals
from wsdm_arena.planning.memory import BYTES
from wsdm_arena.planning.places import DataFolder
from wsdm_arena.planning.reading_jobs import ReadingPlanner
from wsdm_arena.planning.rows import RowSource
from wsdm_arena.planning.speed import Speeds, answer_model_parameters
from wsdm_arena.planning.training_jobs import TrainingPlanner

_GGUF_BYTES = 0.7
"""A weight in a file of four to five bits each, some tensors of six or eight."""
_UNPACKED_BYTES_PER_S = 15e6
"""Read, dequantised and compared: 0.5 GB of float32 in half a minute, 1.1 GB in one to two, on one CPU core."""
_EXPORTED: tuple[Literal["student", "final"], ...] = ("student", "final")


@dataclass(frozen=True)
class Plan:
    """All jobs.

    Attributes:
        jobs: In the recipe's order.
        totals: Of all of them.
        left: Of those that `kedro run` would do.
        memory_limit: Bytes that one device has.
    """

    jobs: tuple[Job, ...]
    totals: Totals
    left: Totals
    memory_limit: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "jobs": [job.to_dict() for job in self.jobs],
            "totals": _totals_to_dict(self.totals),
            "left": _totals_to_dict(self.left),
            "memory_limit": self.memory_limit,
        }


def make_plan(
    config: ProjectConfig, data_root: Path, *, pending: Collection[str] | None = None, is_quick: bool = False
) -> Plan:
    """Plan everything; nothing is loaded, started or written.

    Args:
        config: The whole tree.
        data_root: The environment's data folder.
        pending: Names of Kedro's nodes that are not up to date; None: all of them.
        is_quick: Count rows only and assume lengths, which suffices for disk and takes a tenth of a second.

    Raises:
        PlanError: The size of a judge, an answer model or a device is nowhere to be found.
    """
    planned = _Planner(config, DataFolder(data_root), is_quick).jobs()
    jobs = tuple(
        job if pending is None or job.node in pending else replace(job, state="there", note="") for job in planned
    )
    speeds = Speeds(config, DataFolder(data_root))
    left = [job for job in jobs if job.state != "there"]
    return Plan(jobs, sum_up(jobs), sum_up(left), speeds.device.memory_gib * 2**30)


def sum_up(jobs: Sequence[Job]) -> Totals:
    """Add up jobs that follow one another in this order."""
    peak, peak_job, kept = NOTHING, "", NOTHING
    for job in jobs:
        kept = total([kept, job.final_bytes])
        needed = total([kept, job.running_bytes])
        if needed.value > peak.value:
            peak, peak_job = needed, job.name
    largest = max(jobs, key=lambda job: job.memory.value, default=None)
    kinds = dict.fromkeys(job.kind for job in jobs)
    return Totals(
        hours=total(job.hours for job in jobs),
        gpu_hours=total(job.gpu_hours for job in jobs),
        final_bytes=kept,
        peak_bytes=peak,
        peak_job=peak_job,
        hub_bytes=total(job.hub_bytes for job in jobs),
        memory=largest.memory if largest else NOTHING,
        memory_job=largest.name if largest and largest.memory.value else "",
        by_kind={kind: total(job.hours for job in jobs if job.kind == kind) for kind in kinds},
    )


class _Planner:
    def __init__(self, config: ProjectConfig, folder: DataFolder, is_quick: bool) -> None:
        self._config, self._folder = config, folder
        self._lineup = Lineup.from_parameters(config.model_dump())
        self._speeds = Speeds(config, folder)
        rows = RowSource(config, folder, is_quick=is_quick)
        self._trainings = TrainingPlanner(config, folder, rows, self._speeds, is_quick)
        self._readings = ReadingPlanner(config, folder, rows, self._speeds, is_quick)
        self._generation = GenerationPlanner(config, folder, self._speeds, is_quick)
        self._sizes = {judge: measure_judge(judge, config, folder) for judge in config.roster.judges}

    def jobs(self) -> Iterable[Job]:
        """In the recipe's order; the namespaces are those of the pipelines."""
        roster = self._config.roster
        yield from (self._plan_packaged_model(package) for package in self._lineup.packages)
        yield from (self._plan_backbone(judge) for judge in roster.judges)
        yield from self._plan_trainings("teacher")
        if not roster.students:
            return
        yield from self._plan_scorings("collected_labels", "collected_pairs", "teacher", roster.teachers)
        yield from self._plan_trainings("student")
        yield self._generation.plan_mining()
        yield from self._generation.plan_answers()
        yield from self._plan_scorings("generated_labels", "generated_pairs", "student", roster.students)
        for stage in ("pretraining", "final", "final_held_out"):
            yield from self._plan_trainings(stage)
        for stage in _EXPORTED:
            yield from (self._plan_export(stage, judge) for judge in roster.students)
        for stage in _EXPORTED:
            yield self._readings.plan_submission(stage, {judge: self._sizes[judge] for judge in roster.students})

    def _plan_trainings(self, stage: str) -> Iterable[Job]:
        for judge in self._config.roster.judges_of(stage):
            yield self._trainings.plan(Training(stage, judge), self._sizes[judge])

    def _plan_scorings(self, labels: str, table: str, stage: str, judges: Sequence[str]) -> Iterable[Job]:
        for judge in judges:
            resolved = self._config.resolve(stage, judge)
            yield self._readings.plan_scoring(labels, table, resolved, self._sizes[judge])

    def _plan_packaged_model(self, package: str) -> Job:
        """A GGUF file, put together from its parts, is written as float32."""
        parameters = self._count_packaged(package)
        return Job(
            name=f"packaged_model.{package}",
            node=f"packaged_model.{package}",
            kind="packaged_model",
            state="to do",
            final_bytes=parameters.times(BYTES["float32"]),
            running_bytes=parameters.times(_GGUF_BYTES),
            hours=parameters.times(BYTES["float32"] / _UNPACKED_BYTES_PER_S / 3600, Basis.ASSUMED),
        )

    def _count_packaged(self, package: str) -> Figure:
        """Weights of a packaged model: as a judge has them, else as an answer model is described."""
        for judge, backbone in self._lineup.packaged.items():
            if backbone == package:
                return Figure(self._sizes[judge].parameters, max(self._sizes[judge].basis, Basis.ESTIMATED))
        answering = self._config.generation.answer_models.items()
        name = next(name for name, model in answering if package_of(model.model) == package)
        return Figure(answer_model_parameters(name, self._config), Basis.ASSUMED)

    def _plan_backbone(self, judge: str) -> Job:
        """Files of the hub's cache and of packaged models are hard-linked; others are copied or written anew."""
        size, source = self._sizes[judge], self._config.judges[judge].backbone.source
        is_of_package = package_of(source) is not None
        is_of_hub = source is not None and not is_of_package and not Path(source).is_dir()
        is_linked = is_of_hub or is_of_package
        weights = Figure(self._weight_bytes(judge, size), max(size.basis, Basis.ESTIMATED))
        return Job(
            name=f"backbone.{judge}",
            node=f"backbone.{judge}",
            kind="backbone",
            state="to do",
            final_bytes=NOTHING if is_linked else weights,
            hub_bytes=weights if is_of_hub else NOTHING,
            hours=Figure(0.0 if is_linked else self._speeds.writing_hours(weights.value), Basis.ASSUMED),
            note=f"hard links to {'the packaged model' if is_of_package else 'the cache of the hub'}" * is_linked,
        )

    def _weight_bytes(self, judge: str, size: JudgeSize) -> float:
        directory = self._folder.backbone(judge)
        if directory is not None and (files := [*directory.glob("*.safetensors")]):
            return float(sum(file.stat().st_size for file in files))
        return float(BYTES["bfloat16"] * size.parameters)

    def _plan_export(self, stage: str, judge: str) -> Job:
        """The plain layout of an MLP judge is a hard link to the checkpoint, a linear one's is written anew.

        The fused layout is written in float16.
        """
        size, layouts, resolved = self._sizes[judge], self._config.export.layouts, self._config.resolve(stage, judge)
        written = BYTES["float16"] * ("fused" in layouts)
        written += BYTES[resolved.training.dtype] * ("plain" in layouts and resolved.head.kind != "mlp")
        weights = Figure(float(written * size.parameters), max(size.basis, Basis.ESTIMATED))
        return Job(
            name=f"export.{stage}.{judge}",
            node=f"export.{stage}.{judge}.export",
            kind="export",
            state="to do",
            final_bytes=weights,
            hours=Figure(self._speeds.writing_hours(weights.value), Basis.ASSUMED),
        )


def _totals_to_dict(totals: Totals) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Figure):
            return {"value": value.value, "basis": value.basis.label}
        return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    return {name: plain(value) for name, value in vars(totals).items()}
