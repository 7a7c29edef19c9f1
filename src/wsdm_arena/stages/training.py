"""The one training path, a namespace ``stage.judge`` each: ``select, tokenize, train, evaluate, analyse, draw``."""

from collections.abc import Callable, Sequence

import pandas as pd
from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import TRAINING_TABLES, Training
from wsdm_arena.runs.entry_names import without_parameters
from wsdm_arena.stages.nodes import analyse_judge, draw_judge, evaluate_judge, tokenize_tables, train_judge

_PARAMETERS = ("template", "truncation", "preferences", "launcher", "reporting", "seed")


def judge_training(
    training: Training,
    select: Callable[..., pd.DataFrame],
    select_inputs: Sequence[str],
    *,
    initial_checkpoint: str | None = None,
) -> Pipeline:
    """One judge of one stage: rows and tokens -> checkpoint and predictions -> rows of the scoreboard.

    The training node starts one torchrun that trains, predicts the held-out fold and evaluates.

    Args:
        training: Stage and judge.
        select: Gives the selection, see :mod:`wsdm_arena.preferences.selection`.
        select_inputs: Catalog names of its arguments.
        initial_checkpoint: Catalog name of the checkpoint that is continued; None starts from the backbone.
    """
    # Every stage is scored on battles, whatever it learns from.
    tables = dict.fromkeys(("battles", *TRAINING_TABLES[training.stage]))
    backbone = f"backbone.{training.judge}"
    shared = {"simulated_truth", "token_store", "training_runs", "run_context", backbone, *tables}
    shared |= set(without_parameters(select_inputs))
    continued = {} if initial_checkpoint is None else {"initial_checkpoint": initial_checkpoint}
    template = Pipeline(
        [
            Node(select, list(select_inputs), "selection@pandas", name="select"),
            Node(
                tokenize_tables,
                {
                    "judge": "params:judge",
                    "tokenizer_dir": backbone,
                    "template": "params:template",
                    "truncation": "params:truncation",
                    "token_store": "token_store",
                    **{table: table for table in tables},
                },
                "tokens",
                name="tokenize",
            ),
            Node(
                train_judge,
                {
                    "selection": "selection@path",
                    "tokens": "tokens",
                    "backbone": backbone,
                    "judge": "params:judge",
                    "preferences": "params:preferences",
                    "launcher": "params:launcher",
                    "seed": "params:seed",
                    "training_runs": "training_runs",
                    **continued,
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
                    "selection": "selection@pandas",
                    "battles": "battles",
                    "simulated_truth": "simulated_truth",
                    "judge": "params:judge",
                    "preferences": "params:preferences",
                    "reporting": "params:reporting",
                    "seed": "params:seed",
                    "run_context": "run_context",
                },
                "scores",
                name="evaluate",
            ),
            Node(
                analyse_judge,
                {
                    "predictions": "predictions",
                    "selection": "selection@pandas",
                    "battles": "battles",
                    "judge": "params:judge",
                    "preferences": "params:preferences",
                    "reporting": "params:reporting",
                    "seed": "params:seed",
                },
                "analysis",
                name="analyse",
            ),
            Node(
                draw_judge,
                {"analysis": "analysis", "training_metrics": "training_metrics", "judge": "params:judge"},
                {"reliability_plot": "reliability_plot", "learning_curve_plot": "learning_curve_plot"},
                name="draw",
            ),
        ],
        tags=[training.stage, training.judge],
    )
    return Pipeline(
        template,
        namespace=str(training),
        inputs=shared | set(continued.values()),
        parameters={
            "params:judge": f"params:resolved.{training}",
            **{f"params:{name}": f"params:{name}" for name in _PARAMETERS},
        },
    )
