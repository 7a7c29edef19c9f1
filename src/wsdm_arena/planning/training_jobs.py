"""Jobs that train a judge."""

import json
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.config import TRAINING_TABLES, ProjectConfig, ResolvedJudge, Training, TrainingConfig
from wsdm_arena.errors import UserError
from wsdm_arena.planning.backbones import JudgeSize
from wsdm_arena.planning.figures import Basis, Figure
from wsdm_arena.planning.jobs import Job
from wsdm_arena.planning.memory import BYTES, resume_bytes_per_parameter, training_bytes
from wsdm_arena.planning.places import DataFolder
from wsdm_arena.planning.rows import RowSource
from wsdm_arena.planning.speed import Speeds, read_memory_bytes
from wsdm_arena.planning.work import TrainingWork, count_training
from wsdm_arena.processes.torchrun import torchrun_command
from wsdm_arena.training.launch import describe_run, run_directory

_ROW_BYTES = 100
"""Of a selection's row, and of a reading's prediction, compressed; little beside weights."""
_CONTINUED = {"final": "pretraining", "final_held_out": "pretraining"}
_COMPLETE = "its run is complete, and is reused"
UNKNOWN = "{fingerprint}"
"""Of a run whose inputs are not all there."""


@dataclass(frozen=True)
class TrainingPlanner:
    """Plans trainings.

    Attributes:
        config: The whole tree.
        folder: The environment's data folder.
        rows: Where sequences are counted.
        speeds: How long they take.
        is_quick: Do not look for the run directory that the training would use.
    """

    config: ProjectConfig
    folder: DataFolder
    rows: RowSource
    speeds: Speeds
    is_quick: bool = False

    def plan(self, training: Training, size: JudgeSize) -> Job:
        """Everything about one training, its evaluations included."""
        config, name = self.config, str(training)
        judge = config.resolve(training.stage, training.judge)
        work = count_training(self.rows.training_rows(judge), judge.training, config)
        processes = config.launcher.processes_per_node * config.launcher.nodes
        hours = self.speeds.training_hours(
            name, size, judge.training, trained=work.trained, scored=work.scored, processes=processes
        )
        saves = count_saves(judge.training, work.updates, hours.value)
        resume_bytes = resume_bytes_per_parameter(judge.training) * size.parameters
        run = self.find_run(judge)
        is_gpu = config.launcher.device != "cpu"
        needed = training_bytes(size, judge.training, processes=processes, longest=work.trained.longest, is_gpu=is_gpu)
        memory = Figure(needed, max(size.basis, Basis.ESTIMATED))
        is_complete = (run / "complete.json").is_file()
        is_begun = (run / "run.json").is_file() and not is_complete
        if is_complete and (peak := read_memory_bytes(run / "metrics.jsonl")) is not None:
            memory = Figure(peak, Basis.MEASURED)
        return Job(
            name=name,
            node=f"{name}.train",
            kind="training",
            state="partial" if is_begun else "to do",
            command=tuple(torchrun_command(config.launcher, "wsdm_arena.training", [str(run)])),
            rows=Figure(work.battles, work.rows),
            sequences=Figure(work.trained.sequences, work.rows),
            tokens=Figure(work.trained.tokens, work.lengths),
            updates=Figure(work.updates, work.rows),
            scored_sequences=Figure(work.scored.sequences, work.rows),
            scored_tokens=Figure(work.scored.tokens, work.lengths),
            gpus=processes,
            memory=memory,
            final_bytes=Figure(self._final_bytes(size, judge.training, work), max(size.basis, Basis.ESTIMATED)),
            running_bytes=Figure(min(saves, 2) * resume_bytes, max(size.basis, Basis.ESTIMATED)),
            hours=hours.times(1, work.lengths) + Figure(self.speeds.writing_hours(saves * resume_bytes), Basis.EXACT),
            note=_describe_progress(run) if is_begun else _COMPLETE if is_complete else "",
        )

    def find_run(self, judge: ResolvedJudge) -> Path:
        """The directory that the training would use now; its name is :data:`UNKNOWN` while an input is missing."""
        name, folder = f"{judge.stage}.{judge.judge}", self.folder
        selection, tokens = (folder.model_input(name, file) for file in ("selection.parquet", "tokens.json"))
        backbone, before = folder.backbone(judge.judge), _CONTINUED.get(judge.stage)
        initial = folder.model(f"{before}.{judge.judge}", "checkpoint") if before else None
        unknown = folder.runs_of_trainings / name / UNKNOWN
        if self.is_quick or selection is None or tokens is None or backbone is None or (before and initial is None):
            return unknown
        places = folder.token_tables(tokens)
        if set(places) != {"battles", *TRAINING_TABLES[judge.stage]}:
            return unknown
        try:
            run = describe_run(
                judge=judge,
                backbone=backbone,
                selection=selection,
                tokens=places,
                num_classes=self.config.preferences.num_classes,
                seed=self.config.seed,
                launcher=self.config.launcher,
                initial_checkpoint=initial,
            )
        except (UserError, OSError):  # a damaged input: whoever runs it is told
            return unknown
        return run_directory(run, folder.runs_of_trainings)

    def _final_bytes(self, size: JudgeSize, training: TrainingConfig, work: TrainingWork) -> float:
        """The judge, those kept at evaluations, selection and predictions; Kedro's versions are hard links to them."""
        weights = (1 + work.kept_checkpoints) * BYTES[training.dtype] * size.parameters
        return weights + _ROW_BYTES * (work.battles + work.scored.sequences)


def count_saves(training: TrainingConfig, updates: int, hours: float) -> int:
    """Resume states that a training writes; the newest replaces the one before, once it is complete."""
    checkpoint = training.checkpoint
    by_count = max(updates - 1, 0) // checkpoint.every_updates if checkpoint.every_updates else 0
    by_time = int(60 * hours / checkpoint.every_minutes) if checkpoint.every_minutes else 0
    return min(by_count + by_time, max(updates - 1, 0))


def _describe_progress(run: Path) -> str:
    """How many updates are done, as the last whole line of its metrics says."""
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        record = json.loads(lines[-1])
        return f"{record['update']} of {record['updates']} updates done"
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return "begun"
