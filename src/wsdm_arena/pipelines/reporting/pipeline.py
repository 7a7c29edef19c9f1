"""Baselines and judges side by side."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines.reporting.nodes import build_scoreboard, score_baselines_on_battles


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``baselines`` and every judge's scores -> ``scoreboard``."""
    baselines = Pipeline(
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
                "scores",
                name="score",
            )
        ],
        namespace="baseline",
        inputs={"battles", "simulated_truth", "run_context"},
        parameters={"params:preferences", "params:reporting", "params:seed"},
    )
    scored = {"baseline_scores": "baseline.scores"} | {
        f"teacher_{judge}_scores": f"teacher.{judge}.scores" for judge in roster.teachers
    }
    scoreboard = Pipeline(
        [
            Node(
                build_scoreboard,
                list(scored),
                {"scoreboard": "scoreboard", "scoreboard_table": "scoreboard_table"},
                name="build_scoreboard",
            )
        ],
        inputs=scored,
    )
    return Pipeline(baselines + scoreboard, tags="reporting")
