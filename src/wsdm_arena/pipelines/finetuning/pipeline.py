"""Fine-tune on human battles: teachers, students (with pseudo-labelled pairs beside them), and the final judges."""

from kedro.pipeline import Pipeline

from wsdm_arena.config import HELD_OUT_VARIANT, RosterConfig, Training
from wsdm_arena.preferences.selection import (
    select_final_held_out_rows,
    select_final_rows,
    select_student_rows,
    select_teacher_rows,
)
from wsdm_arena.stages import judge_training

STAGES = ("teacher", "student", "final", HELD_OUT_VARIANT)


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """All fine-tuning stages of all judges; there are no edges between the stages here."""
    return sum((create_stage(stage, roster) for stage in STAGES), start=Pipeline([]))


def create_stage(stage: str, roster: RosterConfig) -> Pipeline:
    """One stage of all its judges."""
    return sum((_create_training(Training(stage, judge)) for judge in roster.judges_of(stage)), start=Pipeline([]))


def _create_training(training: Training) -> Pipeline:
    match training.stage:
        case "teacher":
            return judge_training(training, select_teacher_rows, ["battles", "params:preferences"])
        case "student":
            inputs = ["battles", "collected_labels", "test_pairs", "params:preferences"]
            return judge_training(training, select_student_rows, inputs)
        case _:
            select = select_final_rows if training.stage == "final" else select_final_held_out_rows
            return judge_training(
                training,
                select,
                ["battles", "language_phases", "params:preferences"],
                initial_checkpoint=f"pretraining.{training.judge}.checkpoint",
            )
