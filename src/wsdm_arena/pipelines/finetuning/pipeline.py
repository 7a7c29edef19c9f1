"""Fine-tune each teacher on the battles of the training folds."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines.finetuning.nodes import (
    evaluate_judge,
    tokenize_battles,
    train_judge,
)
from wsdm_arena.preferences.selection import select_training_rows


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``select -> tokenize -> train -> evaluate`` for every teacher."""
    return sum((judge_training("teacher", judge) for judge in roster.teachers), start=Pipeline([]))


def judge_training(stage: str, judge: str) -> Pipeline:
    """One judge of one stage: rows and tokens -> checkpoint and predictions -> rows of the scoreboard.

    The training node starts one torchrun that trains, predicts the held-out fold and evaluates.
    """
    shared = {"battles", "simulated_truth", "token_store", "training_runs", "run_context"}
    template = Pipeline(
        [
            Node(select_training_rows, ["battles", "params:preferences"], "selection@pandas", name="select"),
            Node(
                tokenize_battles,
                ["battles", "params:judge", "params:template", "params:truncation", "token_store"],
                "tokens",
                name="tokenize",
            ),
            Node(
                train_judge,
                {
                    "selection": "selection@path",
                    "tokens": "tokens",
                    "judge": "params:judge",
                    "preferences": "params:preferences",
                    "launcher": "params:launcher",
                    "seed": "params:seed",
                    "training_runs": "training_runs",
                },
                {
                    "checkpoint": "checkpoint",
                    "predictions": "predictions",
                    "predictions_at_start": "predictions_at_start",
                    "training_metrics": "training_metrics",
                },
                name="train",
            ),
            Node(
                evaluate_judge,
                {
                    "predictions": "predictions",
                    "predictions_at_start": "predictions_at_start",
                    "battles": "battles",
                    "simulated_truth": "simulated_truth",
                    "judge": "params:judge",
                    "preferences": "params:preferences",
                    "reporting": "params:reporting",
                    "run_context": "run_context",
                },
                "scores",
                name="evaluate",
            ),
        ],
        tags=[stage, judge],
    )
    return Pipeline(
        template,
        namespace=f"{stage}.{judge}",
        inputs=shared,
        parameters={
            "params:judge": f"params:resolved.{stage}.{judge}",
            **{
                name: name
                for name in (
                    "params:template",
                    "params:truncation",
                    "params:preferences",
                    "params:launcher",
                    "params:reporting",
                    "params:seed",
                )
            },
        },
    )
