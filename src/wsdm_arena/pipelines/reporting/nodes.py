"""Nodes of reporting: baselines, and the scoreboard that everything which claims quality reads from."""

import logging
from typing import Any

import pandas as pd

from wsdm_arena.config import PreferencesConfig, ReportingConfig
from wsdm_arena.scoring.scoreboard import Provenance, ScoreboardRow, baseline_rows, merge_rows
from wsdm_arena.scoring.scoreboard_table import render_scoreboard

logger = logging.getLogger(__name__)


def score_baselines_on_battles(
    battles: pd.DataFrame,
    simulated_truth: pd.DataFrame,
    preferences: PreferencesConfig,
    reporting: ReportingConfig,
    seed: int,
    run_context: dict[str, Any],
) -> list[ScoreboardRow]:
    """Score what needs no language model, and the ceiling where the voters are known, on the held-out fold."""
    return baseline_rows(
        battles,
        fold=preferences.held_out_fold,
        truth=simulated_truth,
        confidence=reporting.confidence,
        seed=seed,
        provenance=Provenance(**run_context),
    )


def build_scoreboard(*scores: list[ScoreboardRow]) -> dict[str, Any]:
    """Put all rows together.

    Returns:
        ``scoreboard`` (rows), ``scoreboard_table`` (the same for people).
    """
    rows = merge_rows(*scores)
    table = render_scoreboard(rows)
    logger.info("\n%s", table)
    return {"scoreboard": rows, "scoreboard_table": table}
