"""From raw tables to validated battles and test pairs."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.language_split import split_by_language
from wsdm_arena.preferences.test_pairs import build_test_pairs


def create_pipeline() -> Pipeline:
    """Every node is a function of the library."""
    return Pipeline(
        [
            Node(
                build_battles,
                ["train_table", "params:preferences"],
                ["battles", "battles_report"],
                name="build_battles",
            ),
            Node(
                split_by_language,
                ["battles", "params:preferences"],
                "language_phases",
                name="split_by_language",
            ),
            Node(
                build_test_pairs,
                "test_table",
                ["test_pairs", "test_pairs_report"],
                name="build_test_pairs",
            ),
        ],
        tags="data_processing",
    )
