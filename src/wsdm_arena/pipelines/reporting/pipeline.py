"""Baselines and judges side by side."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines.reporting.nodes import build_scoreboard, score_baselines_on_battles


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``baselines`` and every judge's scores -> ``scoreboard``."""
    scores = ["baseline.scores", *(f"teacher.{judge}.scores" for judge in roster.teachers)]
    return Pipeline(
        [
            Node(
                score_baselines_on_battles,
                {
                    "battles": "battles",
                    "simulated_truth": "simulated_truth",
                    "preferences": "params:preferences",
                    "reporting": "params:reporting",
                    "seed": "params:seed",
                    "run_context": "run_context",
                },
                "baseline.scores",
                name="score_baselines",
            ),
            Node(
                build_scoreboard,
                scores,
                {"scoreboard": "scoreboard", "scoreboard_table": "scoreboard_table"},
                name="build_scoreboard",
            ),
        ],
        tags=["reporting"],
    )
