"""Describe a training and run it to its end in processes of its own."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wsdm_arena.config import LauncherConfig, ResolvedJudge, RunConfig, TokenTable
from wsdm_arena.processes.torchrun import run_torchrun
from wsdm_arena.runs.files import MANIFEST, write_atomically
from wsdm_arena.runs.fingerprint import (
    directory_digest,
    fingerprint,
    manifest_digest,
    table_digest,
    training_fingerprint,
)
from wsdm_arena.runs.work import record_work
from wsdm_arena.training.run import RunDirectory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """Paths of what a training leaves in its run directory."""

    run_dir: Path

    @property
    def model(self) -> Path:
        """Directory of the trained judge."""
        return self.run_dir / "model"

    @property
    def predictions(self) -> Path:
        """Parquet table: the held-out pairs in both orders, as the trained judge reads them."""
        return self.run_dir / "predictions.parquet"

    @property
    def predictions_at_start(self) -> Path:
        """The same for a sample of the held-out pairs, before the first update."""
        return self.run_dir / "predictions_at_start.parquet"

    @property
    def metrics(self) -> Path:
        """JSON lines: one a logged update."""
        return self.run_dir / "metrics.jsonl"

    @property
    def complete(self) -> bool:
        """Whether the run has ended well; this file is written last."""
        return (self.run_dir / "complete.json").is_file()


def describe_run(
    *,
    judge: ResolvedJudge,
    backbone: Path,
    selection: Path,
    tokens: Mapping[str, Path],
    num_classes: int,
    seed: int,
    launcher: LauncherConfig,
    initial_checkpoint: Path | None = None,
) -> RunConfig:
    """Put together everything that a training process needs.

    Args:
        judge: The judge in its stage.
        backbone: Directory of a plain checkpoint with its tokenizer.
        selection: Parquet table of the rows to train on and to score.
        tokens: Directory of each token table, by the name of the table.
        num_classes: Of the head.
        seed: Of every draw.
        launcher: Devices and threads of the processes.
        initial_checkpoint: A checkpoint of ours to continue, head included; None starts from the backbone.
    """
    inputs = {"selection": table_digest(pd.read_parquet(selection))} | {
        f"tokens.{table}": fingerprint({"key": path.name}) for table, path in sorted(tokens.items())
    }
    if initial_checkpoint is not None:
        inputs["initial_checkpoint"] = manifest_digest(initial_checkpoint)
    return RunConfig(
        seed=seed,
        fingerprint=training_fingerprint(
            judge=judge,
            backbone=_backbone_digest(backbone),
            inputs=inputs,
            seed=seed,
            num_classes=num_classes,
        ),
        judge=judge,
        backbone=backbone,
        initial_checkpoint=initial_checkpoint,
        num_classes=num_classes,
        selection=selection,
        tokens=tuple(TokenTable(table=table, path=path) for table, path in sorted(tokens.items())),
        device=launcher.device,
        backend=launcher.backend,
        threads_per_process=launcher.threads_per_process,
    )


def run_directory(run: RunConfig, training_runs: Path) -> Path:
    """Where a training lives: its fingerprint names it among those of the same judge in the same stage."""
    return training_runs / f"{run.judge.stage}.{run.judge.judge}" / run.fingerprint


def launch_training(run: RunConfig, run_dir: Path, launcher: LauncherConfig) -> FinishedRun:
    """Bring a run directory to its end: reuse it, resume it or start it.

    Raises:
        ProcessFailed: The training ended with an error; carries its last lines.
        RunError: The directory holds a finished run that is damaged or another one.
    """
    finished = FinishedRun(run_dir)
    name = f"{run.judge.stage}.{run.judge.judge}"
    if finished.complete:
        RunDirectory(run_dir).verify_complete(run)
        logger.info("%s: nothing to train, run %s is complete", name, run.fingerprint)
        record_work("training", run.fingerprint, "reused", run_dir)
        return finished
    run_dir.mkdir(parents=True, exist_ok=True)
    resumed = (run_dir / "run.json").exists()
    write_atomically(run_dir / "run.json", run.model_dump_json(indent=2).encode())
    logger.info("%s: %s run %s in %s", name, "resuming" if resumed else "starting", run.fingerprint, run_dir)
    run_torchrun(launcher, "wsdm_arena.training", [str(run_dir)], log_path=run_dir / "torchrun.log")
    if not finished.complete:
        raise RuntimeError(f"{name}: torchrun ended without an error, but {run_dir}/complete.json is missing")
    record_work("training", run.fingerprint, "resumed" if resumed else "made", run_dir)
    return finished


def _backbone_digest(backbone: Path) -> str:
    """An imported backbone vouches for its files; one that was made otherwise is read."""
    return manifest_digest(backbone) if (backbone / MANIFEST).is_file() else directory_digest(backbone)
