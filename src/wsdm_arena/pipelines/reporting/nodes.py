"""Nodes of reporting: baselines, and the scoreboard that everything which claims quality reads from."""

import logging
from typing import Any

import pandas as pd

from wsdm_arena.config import PreferencesConfig, ReportingConfig
from wsdm_arena.scoring.comparisons import compare_judges
from wsdm_arena.scoring.scoreboard import (
    NEW_PROMPTS,
    Provenance,
    ScoreboardRow,
    baseline_rows,
    baseline_rows_on_test_pairs,
    known_votes,
    merge_rows,
    slice_of,
)
from wsdm_arena.scoring.scoreboard_table import render_comparisons, render_scoreboard

logger = logging.getLogger(__name__)


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
    common: dict[str, Any] = {
        "fold": preferences.held_out_fold,
        "truth": simulated_truth,
        "confidence": reporting.confidence,
        "seed": seed,
        "provenance": Provenance(**run_context),
    }
    votes = known_votes(test_pairs, simulated_truth)
    new = votes[~votes["prompt"].isin(battles["prompt"])]
    on_new = baseline_rows_on_test_pairs(battles, new, dataset=NEW_PROMPTS, **common)
    return (
        baseline_rows(battles, **common)
        + baseline_rows_on_test_pairs(battles, votes, **common)
        + [row for row in on_new if not slice_of(row)]
    )


def compare_on_held_out_fold(
    battles: pd.DataFrame,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    **predictions: pd.DataFrame,
) -> list[dict[str, Any]]:
    """Test whether judges of later stages are better than the teachers.

    Arguments are named ``stage__judge``.
    """
    named = {name.replace("__", "."): table for name, table in predictions.items()}
    teachers = [name for name in named if name.startswith("teacher.")]
    later = [name for name in named if name not in teachers]
    return compare_judges(
        named,
        battles,
        [(judge, teacher) for judge in later for teacher in teachers],
        fold=preferences.held_out_fold,
        confidence=reporting.confidence,
    )


def build_scoreboard(comparisons: list[dict[str, Any]], **scores: list[ScoreboardRow]) -> dict[str, Any]:
    """Put all rows together.

    Returns:
        ``scoreboard`` (rows), ``scoreboard_table`` (the same for people, with the comparisons below).
    """
    rows = merge_rows(*scores.values())
    table = render_scoreboard(rows) + render_comparisons(comparisons)
    logger.info("\n%s", table)
    return {"scoreboard": rows, "scoreboard_table": table}
