"""Write the raw files of an arena whose voters are known."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.pipelines.simulated_arena.nodes import CHECKPOINTS, simulate, simulate_unlabelled, write_checkpoints

TABLES = ("train_table", "test_table", "sample_submission", "simulated_truth")
UNLABELLED = ("simulated_collected_pairs", "conversations", "simulated_prompts")


def create_pipeline() -> Pipeline:
    """No part of the default pipeline, since it writes what others read as the user's."""
    tables = {name: name for name in TABLES}
    unlabelled = {name: name for name in UNLABELLED}
    return Pipeline(
        [
            Node(simulate, "params:simulation", tables, name="simulate"),
            Node(simulate_unlabelled, "params:simulation", unlabelled, name="simulate_unlabelled"),
            *create_checkpoints().nodes,
        ],
        tags="simulated_arena",
    )


def create_checkpoints() -> Pipeline:
    """The tiny backbones as a contest's checkpoints."""
    return Pipeline(
        [
            Node(
                write_checkpoints,
                "simulated_checkpoints",
                {judge: f"simulated_checkpoint.{judge}" for judge in CHECKPOINTS},
                name="write_checkpoints",
            )
        ],
        tags="simulated_arena",
    )
