"""Nodes of every training; the library does the work."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.analysis.tables import JudgeAnalysis
from wsdm_arena.config import (
    LauncherConfig,
    PreferencesConfig,
    ReportingConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
    TruncationPolicy,
)
from wsdm_arena.config.pseudo_labels import Order
from wsdm_arena.preferences.selection import SEEN
from wsdm_arena.progress import show_progress
from wsdm_arena.prompts.store import build_token_store
from wsdm_arena.runs.formats import TOKENS_FORMAT, TRAINING_FORMAT, result_format
from wsdm_arena.runs.source_code import ANALYSES, SCORES
from wsdm_arena.scoring.scoreboard import Measurement, ScoreboardRow, judge_rows, start_rows
from wsdm_arena.scoring.table_run import describe_scoring, score_table, scoring_directory
from wsdm_arena.training.launch import describe_run, launch_training, run_directory


@result_format(TOKENS_FORMAT)
def tokenize_tables(
    judge: ResolvedJudge,
    tokenizer_dir: Path,
    template: TemplateConfig,
    truncation: TruncationConfig,
    token_store: Path,
    **tables: pd.DataFrame,
) -> dict[str, str]:
    """Tokenise tables of pairs as this judge reads them, or find that it was done before.

    What a verbalizer starts from is looked for first: an answer must be one token, the backbone a language model.

    Returns:
        Path of the token table, by the name of the table that it holds.
    """
    is_verbalizer = judge.head.kind == "verbalizer"
    if is_verbalizer:
        from wsdm_arena.modeling.verbalizer import require_language_model  # imports torch

        require_language_model(tokenizer_dir)
    return {
        table: str(
            tokenize_table(
                table,
                pairs,
                name=f"{judge.stage}.{judge.judge}",
                tokenizer_dir=tokenizer_dir,
                template=template,
                system_role=judge.system_role,
                truncation=truncation,
                policy=judge.truncation,
                token_store=token_store,
                for_verbalizer=is_verbalizer,
            )
        )
        for table, pairs in tables.items()
    }


def tokenize_table(
    table: str,
    pairs: pd.DataFrame,
    *,
    name: str,
    tokenizer_dir: Path,
    template: TemplateConfig,
    system_role: bool,
    truncation: TruncationConfig,
    policy: TruncationPolicy,
    token_store: Path,
    for_verbalizer: bool = False,
) -> Path:
    """Tokenise one table with a progress bar; see :func:`wsdm_arena.prompts.store.build_token_store`."""
    with show_progress(f"{name} tokens of {table}") as progress:
        return build_token_store(
            pairs,
            table=table,
            tokenizer_dir=tokenizer_dir,
            template=template,
            system_role=system_role,
            truncation=truncation,
            policy=policy,
            root=token_store,
            progress=progress,
            for_verbalizer=for_verbalizer,
        )


@result_format(TRAINING_FORMAT)
def train_judge(
    selection: Path,
    tokens: dict[str, str],
    backbone: Path,
    judge: ResolvedJudge,
    preferences: PreferencesConfig,
    launcher: LauncherConfig,
    seed: int,
    training_runs: Path,
    initial_checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train, predict and evaluate in one torchrun; a finished run is reused, a killed one goes on.

    Returns:
        ``checkpoint`` (directory), ``predictions``, ``predictions_at_start`` and ``training_metrics`` (tables).
    """
    run = describe_run(
        judge=judge,
        backbone=backbone,
        selection=selection,
        tokens={table: Path(path) for table, path in tokens.items()},
        num_classes=preferences.num_classes,
        seed=seed,
        launcher=launcher,
        initial_checkpoint=initial_checkpoint,
    )
    finished = launch_training(run, run_directory(run, training_runs), launcher)
    return {
        "checkpoint": finished.model,
        "predictions": pd.read_parquet(finished.predictions),
        "predictions_at_start": pd.read_parquet(finished.predictions_at_start),
        "training_metrics": pd.DataFrame(json.loads(line) for line in finished.metrics.read_text().splitlines()),
    }


@result_format(SCORES)
def evaluate_judge(
    predictions: pd.DataFrame,
    predictions_at_start: pd.DataFrame,
    selection: pd.DataFrame,
    battles: pd.DataFrame,
    simulated_truth: pd.DataFrame,
    judge: ResolvedJudge,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    seed: int,
    run_context: dict[str, Any],
) -> list[ScoreboardRow]:
    """Score the judge on the held-out fold, and what it started from before the first update.

    A judge that was trained on that fold too gets a row that says so. What it started from has a stage of its own,
    ``<stage>.start``; a language model that was only asked for its verdict has ``<stage>.zero_shot``.

    Returns:
        Rows of the scoreboard: all battles, the slices, and that of a sample before the first update.
    """
    fold = preferences.held_out_fold
    how = Measurement.of(reporting, truth=simulated_truth, seed=seed, run_context=run_context)
    seen = bool((selection["split"] == SEEN).any())
    rows = judge_rows(
        predictions,
        battles,
        stage=judge.stage,
        judge=judge.judge,
        fold=fold,
        seen_in_training=seen,
        how=how,
    )
    return rows + start_rows(predictions_at_start, battles, stage=judge.stage, judge=judge.judge, fold=fold, how=how)


@result_format(ANALYSES)
def analyse_judge(
    predictions: pd.DataFrame,
    selection: pd.DataFrame,
    battles: pd.DataFrame,
    judge: ResolvedJudge,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    seed: int,
) -> JudgeAnalysis:
    """Measure calibration, swap consistency, length bias and abstention on the held-out fold."""
    from wsdm_arena.analysis.judges import analyse_judge as analyse  # imports torch and scipy

    return analyse(
        predictions,
        battles,
        stage=judge.stage,
        judge=judge.judge,
        fold=preferences.held_out_fold,
        seen_in_training=bool((selection["split"] == SEEN).any()),
        confidence=reporting.confidence,
        num_bootstrap_samples=reporting.bootstrap_samples,
        seed=seed,
    )


@result_format(ANALYSES)
def draw_judge(analysis: JudgeAnalysis, training_metrics: pd.DataFrame, judge: ResolvedJudge) -> dict[str, Any]:
    """Draw what one judge's probabilities are worth, and how its training went.

    Returns:
        ``reliability_plot`` and ``learning_curve_plot``.
    """
    from wsdm_arena.analysis.figures import draw_learning_curve, draw_reliability  # import plotly

    return {
        "reliability_plot": draw_reliability(analysis),
        "learning_curve_plot": draw_learning_curve(training_metrics, f"{judge.stage}.{judge.judge}"),
    }


def score_table_of_pairs(
    checkpoint: Path,
    tokens: Path,
    *,
    table: str,
    judge: ResolvedJudge,
    orders: tuple[Order, ...],
    launcher: LauncherConfig,
    scoring_runs: Path,
) -> pd.DataFrame:
    """Read every pair of a token table with a trained judge; what was read before is not read again.

    Returns:
        Predictions, see :class:`wsdm_arena.schemas.Predictions`.
    """
    training = judge.training
    request = describe_scoring(
        checkpoint=checkpoint,
        tokens=tokens,
        table=table,
        orders=orders,
        dtype=training.dtype,
        attention=judge.attention,
        max_tokens_per_batch=training.max_tokens_per_scoring_batch or training.max_tokens_per_micro_batch,
        launcher=launcher,
    )
    return score_table(request, scoring_directory(request, judge, scoring_runs), launcher)
