"""What a training on one's own battles leaves, and how good it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena import __version__
from wsdm_arena.config import ResolvedJudge
from wsdm_arena.config.own_training import STAGE, OwnTrainingConfig
from wsdm_arena.preferences.battles import BattleTables
from wsdm_arena.scoring.scoreboard import Measurement, ScoreboardRow, baseline_rows, judge_rows, start_rows
from wsdm_arena.training.launch import FinishedRun


@dataclass(frozen=True)
class TrainedJudge:
    """What a training leaves.

    Attributes:
        bundle: The judge, ready to be used, in one directory that can be moved.
        rows: On the battles that were held out: the judge first, then what it has to beat.
        calibration: The temperature in the bundle, and how it was found.
        report: How many rows became battles, and why the others did not.
        run_dir: Where it was trained; metrics and predictions lie there.
        was_done: Whether all of this was there before.
    """

    bundle: Path
    rows: tuple[ScoreboardRow, ...]
    calibration: Mapping[str, Any]
    report: Mapping[str, Any]
    run_dir: Path
    was_done: bool = False


@dataclass(frozen=True)
class CardContents:
    """What a model card can be written from.

    Attributes:
        checkpoint: What the bundle is made of.
        judge: As it was trained.
        config: Everything that was asked for.
        battles: All of them, with their folds.
        selection: Which of them were trained on.
        predictions: On the held-out ones.
        rows: Of the scoreboard, slices included.
        calibration: The temperature, and how it was found.
        provenance: What the bundle says of its origin.
    """

    checkpoint: Path
    judge: ResolvedJudge
    config: OwnTrainingConfig
    battles: pd.DataFrame
    selection: pd.DataFrame
    predictions: pd.DataFrame
    rows: tuple[ScoreboardRow, ...]
    calibration: Mapping[str, Any]
    provenance: Mapping[str, Any]


def measure(
    config: OwnTrainingConfig,
    judge: ResolvedJudge,
    tables: BattleTables,
    selection: pd.DataFrame,
    finished: FinishedRun,
) -> CardContents:
    """Score and calibrate a judge on the held-out battles, and say what it was made of."""
    from wsdm_arena.modeling.checkpoint import read_manifest  # imports torch

    predictions = pd.read_parquet(finished.predictions)
    # Of a head that starts at random nothing is to be told.
    asked = pd.read_parquet(finished.predictions_at_start) if judge.head.kind == "verbalizer" else pd.DataFrame()
    manifest, backbone = read_manifest(finished.model), config.judge.backbone
    provenance = {
        "stage": judge.stage,
        "judge": judge.judge,
        "env": None,
        "wsdm_arena": __version__,
        "fingerprint": manifest["fingerprint"],
        "trained": manifest["trained"],
        "backbone": {"source": backbone.source, "revision": backbone.revision},
        "battles": count_rows(tables.report),
    }
    return CardContents(
        checkpoint=finished.model,
        judge=judge,
        config=config,
        battles=tables.battles,
        selection=selection,
        predictions=predictions,
        rows=_score(predictions, asked, tables.battles, config),
        calibration=_calibrate(predictions, tables.battles, config),
        provenance=provenance,
    )


def count_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """What of the report on raw rows is worth telling at the end."""
    keys = ("num_rows", "num_battles", "num_prompts", "dropped", "repaired", "left_out", "languages", "winners")
    return {key: report[key] for key in keys}


def _score(
    predictions: pd.DataFrame, asked: pd.DataFrame, battles: pd.DataFrame, config: OwnTrainingConfig
) -> tuple[ScoreboardRow, ...]:
    """Rows of the judge, of the language model that was only asked, then of the baselines, on the held-out fold."""
    fold, reporting = config.preferences.held_out_fold, config.reporting
    how = Measurement(
        confidence=reporting.confidence, num_bootstrap_samples=reporting.bootstrap_samples, seed=config.seed
    )
    rows = judge_rows(predictions, battles, stage=STAGE, judge=config.name, fold=fold, how=how)
    rows += start_rows(asked, battles, stage=STAGE, judge=config.name, fold=fold, how=how)
    return (*rows, *baseline_rows(battles, fold=fold, how=how))


def _calibrate(predictions: pd.DataFrame, battles: pd.DataFrame, config: OwnTrainingConfig) -> dict[str, Any]:
    from wsdm_arena.scoring.calibration import fit_temperature  # imports torch

    held_out = battles[battles["fold"] == config.preferences.held_out_fold]
    fingerprints = sorted(predictions["judge_fingerprint"].unique())
    return asdict(fit_temperature(predictions, held_out)) | {"fitted_on": fingerprints}
