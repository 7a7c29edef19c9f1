"""Baselines, judges and cascades side by side."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines.reporting.nodes import build_scoreboard, compare_on_held_out_fold, score_baselines_on_battles

_SEEN = ("final",)
"""Stages that were trained on the held-out fold, too: a comparison there would flatter them."""


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``baselines``, every judge's scores and the cascades' -> ``scoreboard``; paired tests -> ``comparisons``."""
    scored = ["baseline.scores", *(f"{training}.scores" for training in roster.trainings())]
    if roster.students:
        scored += ["submission.student.scores", "submission.final.scores"]
    predicted = {
        f"{training.stage}__{training.judge}": f"{training}.predictions"
        for training in roster.trainings()
        if training.stage not in _SEEN
    }
    nodes = [
        Node(
            compare_on_held_out_fold,
            {
                "battles": "battles",
                "preferences": "params:preferences",
                "reporting": "params:reporting",
                **predicted,
            },
            "comparisons",
            name="compare_judges",
        ),
        Node(
            build_scoreboard,
            {"comparisons": "comparisons", **{name.replace(".", "__"): name for name in scored}},
            {"scoreboard": "scoreboard", "scoreboard_table": "scoreboard_table"},
            name="build_scoreboard",
        ),
    ]
    return Pipeline(_create_baselines() + Pipeline(nodes), tags="reporting")


def _create_baselines() -> Pipeline:
    shared = ("battles", "test_pairs", "simulated_truth", "run_context")
    parameters = ("preferences", "reporting", "seed")
    inputs = {name: name for name in shared} | {name: f"params:{name}" for name in parameters}
    return Pipeline(
        [Node(score_baselines_on_battles, inputs, "scores", name="score")],
        namespace="baseline",
        inputs=set(shared),
        parameters={f"params:{name}" for name in parameters},
    )
