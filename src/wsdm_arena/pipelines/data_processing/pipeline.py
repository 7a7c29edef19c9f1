"""From raw tables to validated pairs, and from downloaded checkpoints to backbones."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import Lineup
from wsdm_arena.judging.submission import check_sample
from wsdm_arena.pipelines.data_processing.nodes import import_named_backbone, import_raw_checkpoint
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.collected_pairs import build_collected_pairs
from wsdm_arena.preferences.language_split import split_by_language
from wsdm_arena.preferences.test_pairs import build_test_pairs
from wsdm_arena.runs.entry_names import without_parameters


def create_pipeline(lineup: Lineup) -> Pipeline:
    """Tables, and a backbone for every judge that takes part."""
    backbones = (_create_backbone(judge, judge in lineup.imported) for judge in lineup.roster.judges)
    return Pipeline(sum(backbones, start=_create_tables()), tags="data_processing")


def _create_tables() -> Pipeline:
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
            Node(check_sample, ["test_pairs", "sample_submission"], None, name="check_sample_submission"),
            Node(
                build_collected_pairs,
                ["collected_pairs_table", "battles", "test_pairs", "params:preferences"],
                ["collected_pairs", "collected_pairs_report"],
                name="build_collected_pairs",
            ),
        ]
    )


def _create_backbone(judge: str, is_imported: bool) -> Pipeline:
    parameters = f"params:judges.{judge}.backbone"
    if is_imported:
        node = Node(import_raw_checkpoint, [f"raw_checkpoint.{judge}", parameters, "backbone_store"], judge, name=judge)
    else:
        node = Node(import_named_backbone, [parameters, "backbone_store"], judge, name=judge)
    return Pipeline(
        [node],
        namespace="backbone",
        inputs=set(without_parameters(node.inputs)),
        parameters={parameters},
        tags=judge,
    )
