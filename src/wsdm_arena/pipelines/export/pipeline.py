"""Checkpoints become bundles: everything that judging takes, in one folder."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import HELD_OUT_VARIANT, RosterConfig
from wsdm_arena.pipelines.export.nodes import calibrate, export_judge

STAGES = ("student", "final")


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``calibrate -> export`` for every judge of the stages that are submitted."""
    judges = ((stage, judge) for stage in STAGES for judge in roster.judges_of(stage))
    return sum((_create_export(stage, judge, roster) for stage, judge in judges), start=Pipeline([]))


def _create_export(stage: str, judge: str, roster: RosterConfig) -> Pipeline:
    checkpoint, bundle = f"{stage}.{judge}.checkpoint", f"{stage}.{judge}.bundle"
    predictions = f"{_stage_to_calibrate_on(stage, judge, roster)}.{judge}.predictions"
    return Pipeline(
        [
            Node(
                calibrate,
                {"predictions": predictions, "battles": "battles", "preferences": "params:preferences"},
                "calibration",
                name="calibrate",
            ),
            Node(
                export_judge,
                {
                    "checkpoint": checkpoint,
                    "calibration": "calibration",
                    "judge": "params:judge",
                    "template": "params:template",
                    "truncation": "params:truncation",
                    "export": "params:export",
                    "run_context": "run_context",
                    "bundle_store": "bundle_store",
                },
                bundle,
                name="export",
            ),
        ],
        namespace=f"export.{stage}.{judge}",
        inputs={predictions, "battles", checkpoint, "run_context", "bundle_store"},
        outputs={bundle},
        parameters={
            "params:judge": f"params:resolved.{stage}.{judge}",
            **{name: name for name in ("params:preferences", "params:template", "params:truncation", "params:export")},
        },
        tags=["export", judge],
    )


def _stage_to_calibrate_on(stage: str, judge: str, roster: RosterConfig) -> str:
    """The final judges have seen every fold: the variant that has not stands in, and without one the student."""
    if stage != "final":
        return stage
    return HELD_OUT_VARIANT if judge in roster.final_held_out else "student"
