"""Write the raw files of an arena whose voters are known."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.pipelines.simulated_arena.nodes import simulate

OUTPUTS = ("train_table", "test_table", "sample_submission", "simulated_truth")


def create_pipeline() -> Pipeline:
    """One node; no part of the default pipeline, since it writes what others read as the user's."""
    outputs = {name: name for name in OUTPUTS}
    return Pipeline([Node(simulate, "params:simulation", outputs, name="simulate")], tags="simulated_arena")
