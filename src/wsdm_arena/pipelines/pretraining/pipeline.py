"""Train every student's backbone anew on all pseudo-labelled pairs."""

from kedro.pipeline import Pipeline

from wsdm_arena.config import RosterConfig, Training
from wsdm_arena.preferences.selection import select_pretraining_rows
from wsdm_arena.stages import judge_training

_INPUTS = ["battles", "collected_labels", "generated_labels", "test_pairs", "params:preferences"]


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """One training a student."""
    trainings = (Training("pretraining", judge) for judge in roster.judges_of("pretraining"))
    return sum(
        (judge_training(training, select_pretraining_rows, _INPUTS) for training in trainings), start=Pipeline([])
    )
