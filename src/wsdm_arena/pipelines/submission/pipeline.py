"""Two exported judges share the test pairs in a cascade; its verdicts become ``submission.csv``."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import HELD_OUT_VARIANT, RosterConfig
from wsdm_arena.judging.submission import build_submission
from wsdm_arena.pipelines.submission.nodes import analyse_cascade, evaluate_verdicts, judge_test_pairs, plan_cascade

STAGES = ("student", "final")


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``plan -> judge -> submit -> evaluate -> analyse`` for the students and for the final judges."""
    if not roster.students:
        return Pipeline([])
    return sum((_create_submission(stage, roster) for stage in STAGES), start=Pipeline([]))


def _create_submission(stage: str, roster: RosterConfig) -> Pipeline:
    bundles = {judge: f"{stage}.{judge}.bundle" for judge in roster.students}
    predictions = {judge: f"{_stage_to_plan_on(stage, judge, roster)}.{judge}.predictions" for judge in roster.students}
    read_by = {judge: entry.removesuffix(".predictions") for judge, entry in predictions.items()}
    return Pipeline(
        [
            Node(
                _for_stage(plan_cascade, stage),
                {
                    "submission": "params:submission",
                    "preferences": "params:preferences",
                    "battles": "battles",
                    **predictions,
                },
                "cascade",
                name="plan",
            ),
            Node(
                _for_stage(judge_test_pairs, stage),
                {
                    "test_pairs": "test_pairs",
                    "cascade": "cascade",
                    "submission": "params:submission",
                    "launcher": "params:launcher",
                    "token_store": "token_store",
                    **bundles,
                },
                {"verdicts": "verdicts", "report": "report"},
                name="judge",
            ),
            Node(build_submission, ["verdicts", "test_pairs", "sample_submission"], "submission", name="submit"),
            Node(
                _for_stage(evaluate_verdicts, stage),
                {
                    "verdicts": "verdicts",
                    "test_pairs": "test_pairs",
                    "battles": "battles",
                    "simulated_truth": "simulated_truth",
                    "reporting": "params:reporting",
                    "seed": "params:seed",
                    "run_context": "run_context",
                },
                "scores",
                name="evaluate",
            ),
            Node(
                _for_stage(analyse_cascade, stage, read_by=read_by),
                {
                    "cascade": "cascade",
                    "report": "report",
                    "battles": "battles",
                    "preferences": "params:preferences",
                    "reporting": "params:reporting",
                    "seed": "params:seed",
                    **predictions,
                },
                "analysis",
                name="analyse",
            ),
        ],
        namespace=f"submission.{stage}",
        inputs={
            "battles",
            "test_pairs",
            "sample_submission",
            "simulated_truth",
            "token_store",
            "run_context",
            *bundles.values(),
            *predictions.values(),
        },
        parameters={f"params:{name}" for name in ("submission", "launcher", "preferences", "reporting", "seed")},
        tags="submission",
    )


def _stage_to_plan_on(stage: str, judge: str, roster: RosterConfig) -> str:
    """The final judges have seen the held-out fold: the variant that has not stands in, or else the student."""
    return HELD_OUT_VARIANT if stage == "final" and judge in roster.judges_of(HELD_OUT_VARIANT) else "student"


def _for_stage(function: Callable[..., Any], stage: str, **settled: Any) -> Callable[..., Any]:
    """A node function with its stage settled: Kedro cannot validate ``params:x`` and ``params:x.y`` side by side."""
    return update_wrapper(partial(function, stage=stage, **settled), function)
