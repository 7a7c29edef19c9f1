"""Checkpoints become bundles: everything that judging takes, in one folder."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import HELD_OUT_VARIANT, TRAINING_TABLES, RosterConfig
from wsdm_arena.pipelines.export.nodes import calibrate, export_judge, leave_uncalibrated
from wsdm_arena.runs.entry_names import is_parameter

STAGES = ("student", "final")


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``calibrate -> export`` for every judge of the stages that are submitted."""
    judges = ((stage, judge) for stage in STAGES for judge in roster.judges_of(stage))
    return sum((_create_export(stage, judge, roster) for stage, judge in judges), start=Pipeline([]))


def _create_export(stage: str, judge: str, roster: RosterConfig) -> Pipeline:
    checkpoint, bundle = f"{stage}.{judge}.checkpoint", f"{stage}.{judge}.bundle"
    calibration, described = _create_calibration(stage, judge, roster), _described_by(stage, judge, roster)
    export = Node(
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
            **described,
        },
        bundle,
        name="export",
    )
    read = {name for name in (*calibration.inputs, *export.inputs) if name != "calibration"}
    parameters = {name: name for name in read if is_parameter(name)}
    return Pipeline(
        [calibration, export],
        namespace=f"export.{stage}.{judge}",
        inputs=read - set(parameters),
        outputs={bundle},
        parameters=parameters
        | {"params:judge": f"params:resolved.{stage}.{judge}", "params:backbone": f"params:judges.{judge}.backbone"},
        tags=["export", judge],
    )


def _create_calibration(stage: str, judge: str, roster: RosterConfig) -> Node:
    """The final judges have seen every fold: the variant that has not is calibrated in their place."""
    if stage == "final" and judge not in roster.final_held_out:
        return Node(leave_uncalibrated, "params:judge", "calibration", name="calibrate")
    predictions = f"{HELD_OUT_VARIANT if stage == 'final' else stage}.{judge}.predictions"
    return Node(
        calibrate,
        {"predictions": predictions, "battles": "battles", "preferences": "params:preferences"},
        "calibration",
        name="calibrate",
    )


def _described_by(stage: str, judge: str, roster: RosterConfig) -> dict[str, str]:
    """What only the model card is made of, by the exporting node's arguments."""
    variant = HELD_OUT_VARIANT if stage == "final" and judge in roster.final_held_out else None
    tables = dict.fromkeys(TRAINING_TABLES[stage])
    entries = {
        "selection": f"{stage}.{judge}.selection@pandas",
        "scores": f"{stage}.{judge}.scores",
        "baseline_scores": "baseline.scores",
        "analysis": f"{variant or stage}.{judge}.analysis",
        "backbone": "params:backbone",
        "packaged_models": "params:packaged_models",
        "labellers": "params:labellers",
        "reporting": "params:reporting",
        "sources": "params:sources",
    }
    if variant is not None:
        entries["held_out_scores"] = f"{variant}.{judge}.scores"
    if stage == "final":
        entries["initial_selection"] = f"pretraining.{judge}.selection@pandas"
        entries["generation"] = "params:generation"
        tables |= dict.fromkeys(TRAINING_TABLES["pretraining"])
    return entries | {table: table for table in tables}
