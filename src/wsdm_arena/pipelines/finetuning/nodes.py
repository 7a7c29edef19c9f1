"""Nodes of the fine-tuning stages; the library does the work."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.config import (
    LauncherConfig,
    PreferencesConfig,
    ReportingConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.prompts.progress import show_progress
from wsdm_arena.prompts.store import build_token_store
from wsdm_arena.scoring.scoreboard import Provenance, ScoreboardRow, judge_rows, slice_of
from wsdm_arena.training.launch import describe_run, launch_training, locate_backbone


def tokenize_battles(
    battles: pd.DataFrame,
    judge: ResolvedJudge,
    template: TemplateConfig,
    truncation: TruncationConfig,
    token_store: Path,
) -> dict[str, str]:
    """Tokenise the battles as this judge reads them, or find that it was done before.

    Returns:
        Path of the token table, by the name of the table that it holds.
    """
    with show_progress(f"{judge.stage}.{judge.judge} tokens") as progress:
        path = build_token_store(
            battles,
            table="battles",
            tokenizer_dir=locate_backbone(judge.backbone),
            revision=judge.revision,
            template=template,
            system_role=judge.system_role,
            truncation=truncation,
            policy=judge.truncation,
            root=token_store,
            progress=progress,
        )
    return {"battles": str(path)}


def train_judge(
    selection: Path,
    tokens: dict[str, str],
    judge: ResolvedJudge,
    preferences: PreferencesConfig,
    launcher: LauncherConfig,
    seed: int,
    training_runs: Path,
) -> dict[str, Any]:
    """Train, predict and evaluate in one torchrun; a finished run is reused, a killed one goes on.

    Returns:
        ``checkpoint`` (directory), ``predictions``, ``predictions_at_start`` and ``training_metrics`` (tables).
    """
    run = describe_run(
        judge=judge,
        selection=selection,
        tokens={table: Path(path) for table, path in tokens.items()},
        num_classes=preferences.num_classes,
        seed=seed,
        launcher=launcher,
    )
    finished = launch_training(run, training_runs / f"{judge.stage}.{judge.judge}" / run.fingerprint, launcher)
    return {
        "checkpoint": finished.model,
        "predictions": pd.read_parquet(finished.predictions),
        "predictions_at_start": pd.read_parquet(finished.predictions_at_start),
        "training_metrics": pd.DataFrame(json.loads(line) for line in finished.metrics.read_text().splitlines()),
    }


def evaluate_judge(
    predictions: pd.DataFrame,
    predictions_at_start: pd.DataFrame,
    battles: pd.DataFrame,
    simulated_truth: pd.DataFrame,
    judge: ResolvedJudge,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    run_context: dict[str, Any],
) -> list[ScoreboardRow]:
    """Score the judge on the held-out fold, and its backbone as it was before the first update.

    Returns:
        Rows of the scoreboard: all battles, the slices, and that of a sample before the first update.
    """
    fold, provenance = preferences.held_out_fold, Provenance(**run_context)
    rows = judge_rows(
        predictions,
        battles,
        stage=judge.stage,
        judge=judge.judge,
        fold=fold,
        truth=simulated_truth,
        confidence=reporting.confidence,
        provenance=provenance,
    )
    if predictions_at_start.empty:
        return rows
    before = judge_rows(
        predictions_at_start,
        battles[battles["pair_id"].isin(predictions_at_start["pair_id"])],
        stage=f"{judge.stage}.start",
        judge=judge.judge,
        fold=fold,
        dataset="sample",
        confidence=reporting.confidence,
        provenance=provenance,
    )
    return rows + [row for row in before if not slice_of(row)]
