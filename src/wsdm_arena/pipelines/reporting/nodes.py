"""Nodes of reporting: baselines, the scoreboard that everything which claims quality reads from, and the report."""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from wsdm_arena.analysis.datasets import TableSummary
from wsdm_arena.analysis.tables import CascadeAnalysis, JudgeAnalysis
from wsdm_arena.config import PreferencesConfig, ReportingConfig
from wsdm_arena.runs.formats import result_format
from wsdm_arena.runs.source_code import ANALYSES, SCORES
from wsdm_arena.scoring.comparisons import compare_judges
from wsdm_arena.scoring.scoreboard import (
    NEW_PROMPTS,
    Measurement,
    ScoreboardRow,
    baseline_rows,
    baseline_rows_on_test_pairs,
    known_votes,
    merge_rows,
    slice_of,
)
from wsdm_arena.scoring.scoreboard_table import render_comparisons, render_scoreboard

logger = logging.getLogger(__name__)


@result_format(SCORES)
def score_baselines_on_battles(
    battles: pd.DataFrame,
    test_pairs: pd.DataFrame,
    simulated_truth: pd.DataFrame,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    seed: int,
    run_context: dict[str, Any],
) -> list[ScoreboardRow]:
    """Score what needs no language model, and the ceiling where the voters are known.

    On the held-out fold, and on the test pairs where their votes are known.
    """
    fold = preferences.held_out_fold
    how = Measurement.of(reporting, truth=simulated_truth, seed=seed, run_context=run_context)
    votes = known_votes(test_pairs, simulated_truth)
    new = votes[~votes["prompt"].isin(battles["prompt"])]
    on_new = baseline_rows_on_test_pairs(battles, new, fold=fold, dataset=NEW_PROMPTS, how=how)
    return (
        baseline_rows(battles, fold=fold, how=how)
        + baseline_rows_on_test_pairs(battles, votes, fold=fold, how=how)
        + [row for row in on_new if not slice_of(row)]
    )


@result_format(SCORES)
def compare_on_held_out_fold(
    battles: pd.DataFrame,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    **predictions: pd.DataFrame,
) -> list[dict[str, Any]]:
    """Test for any two judges which one is right more often; the one of the later stage stands first.

    Arguments are named ``stage__judge``, in the recipe's order.
    """
    names = [_dotted(name) for name in predictions]
    return compare_judges(
        {_dotted(name): table for name, table in predictions.items()},
        battles,
        [(later, earlier) for number, later in enumerate(names) for earlier in names[:number]],
        fold=preferences.held_out_fold,
        confidence=reporting.confidence,
    )


@result_format(SCORES)
def build_scoreboard(comparisons: list[dict[str, Any]], **scores: list[ScoreboardRow]) -> dict[str, Any]:
    """Put all rows together.

    Returns:
        ``scoreboard`` (rows), ``scoreboard_table`` (the same for people, and below it the comparisons with teachers).
    """
    rows = sorted(merge_rows(*scores.values()), key=lambda row: slice_of(row) != "")  # whole datasets first
    with_teachers = [row for row in comparisons if row["second"].startswith("teacher.")]
    table = render_scoreboard(rows) + render_comparisons(with_teachers)
    logger.info("\n%s", table)
    return {"scoreboard": rows, "scoreboard_table": table}


@result_format(ANALYSES)
def draw_scoreboard(scoreboard: list[ScoreboardRow]) -> dict[str, Any]:
    """Draw accuracy, over all battles and by slice."""
    from wsdm_arena.analysis.figures import draw_accuracy, draw_slices  # import plotly, as all below do

    return {"accuracy_plot": draw_accuracy(scoreboard), "slices_plot": draw_slices(scoreboard)}


@result_format(ANALYSES)
def collect_judges(**analyses: JudgeAnalysis) -> list[JudgeAnalysis]:
    """Put the analyses of all judges together, in the recipe's order."""
    return list(analyses.values())


@result_format(ANALYSES)
def collect_cascades(**analyses: CascadeAnalysis) -> list[CascadeAnalysis]:
    """Put the analyses of all cascades together."""
    return list(analyses.values())


@result_format(ANALYSES)
def collect_training_metrics(**metrics: pd.DataFrame) -> pd.DataFrame:
    """Put what trainings logged one below the other; column ``training`` says whose a row is.

    Arguments are named ``stage__judge``.
    """
    return pd.concat([table.assign(training=_dotted(name)) for name, table in metrics.items()], ignore_index=True)


@result_format(ANALYSES)
def summarize_data(**tables: pd.DataFrame) -> dict[str, TableSummary]:
    """Count what the run learned from and was scored on."""
    from wsdm_arena.analysis.datasets import summarize_tables

    return summarize_tables(tables)


@result_format(ANALYSES)
def draw_judges(
    judges: list[JudgeAnalysis], scoreboard: list[ScoreboardRow], reporting: ReportingConfig
) -> dict[str, Any]:
    """Draw how far judges may be trusted: calibration, order, length, abstention."""
    from wsdm_arena.analysis.figures import draw_abstention, draw_calibration, draw_length_bias, draw_swap_audit

    return {
        "calibration_plot": draw_calibration(judges),
        "swap_plot": draw_swap_audit(judges, scoreboard, confidence=reporting.confidence),
        "length_plot": draw_length_bias(judges),
        "abstention_plot": draw_abstention(judges),
    }


@result_format(ANALYSES)
def draw_cascades(cascades: list[CascadeAnalysis]) -> Any:
    """Draw what reading pairs twice is worth, and costs."""
    from wsdm_arena.analysis.figures import draw_cascade_frontier

    return draw_cascade_frontier(cascades)


@result_format(ANALYSES)
def draw_paired_tests(comparisons: list[dict[str, Any]]) -> Any:
    """Draw the differences between judges."""
    from wsdm_arena.analysis.figures import draw_comparisons

    return draw_comparisons(comparisons)


@result_format(ANALYSES)
def draw_training(training_metrics: pd.DataFrame) -> Any:
    """Draw the learning curves of all trainings."""
    from wsdm_arena.analysis.figures import draw_learning_curves

    return draw_learning_curves(_by_training(training_metrics))


@result_format(ANALYSES)
def write_report(
    scoreboard: list[ScoreboardRow],
    comparisons: list[dict[str, Any]],
    tables: dict[str, TableSummary],
    judges: list[JudgeAnalysis],
    training_metrics: pd.DataFrame,
    run_context: dict[str, Any],
    reporting: ReportingConfig,
    cascades: Sequence[CascadeAnalysis] = (),
) -> str:
    """Put everything onto one page that needs no network."""
    from wsdm_arena.analysis.report import build_report

    return build_report(
        title="wsdm-arena",
        rows=scoreboard,
        analyses=judges,
        cascades=cascades,
        comparisons=comparisons,
        learning_metrics=_by_training(training_metrics),
        run=run_context,
        tables=tables,
        confidence=reporting.confidence,
    )


def _by_training(metrics: pd.DataFrame) -> dict[str, pd.DataFrame]:
    groups = metrics.groupby("training", sort=False)
    return {str(name): rows.drop(columns="training").dropna(axis="columns", how="all") for name, rows in groups}


def _dotted(argument: str) -> str:
    """``teacher.gemma`` of the argument ``teacher__gemma``."""
    return argument.replace("__", ".", 1)
