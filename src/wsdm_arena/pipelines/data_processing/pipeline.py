"""From raw tables to validated pairs, and from downloaded checkpoints to backbones."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import Lineup
from wsdm_arena.judging.submission import check_sample
from wsdm_arena.pipelines.data_processing.nodes import (
    import_named_backbone,
    import_raw_checkpoint,
    unpack_packaged_model,
)
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.collected_pairs import build_collected_pairs
from wsdm_arena.preferences.language_split import split_by_language
from wsdm_arena.preferences.test_pairs import build_test_pairs
from wsdm_arena.runs.entry_names import without_parameters


def create_pipeline(lineup: Lineup) -> Pipeline:
    """Tables, packaged models that are used, and a backbone for every judge that takes part."""
    packages = (_create_packaged_model(package) for package in lineup.packages)
    backbones = (_create_backbone(judge, lineup) for judge in lineup.roster.judges)
    return Pipeline(sum((*packages, *backbones), start=_create_tables()), tags="data_processing")


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


def _create_packaged_model(package: str) -> Pipeline:
    parameters = f"params:packaged_models.{package}"
    return Pipeline(
        [Node(unpack_packaged_model, [parameters, "packaged_model_store"], package, name=package)],
        namespace="packaged_model",
        inputs={"packaged_model_store"},
        parameters={parameters},
    )


def _create_backbone(judge: str, lineup: Lineup) -> Pipeline:
    parameters = f"params:judges.{judge}.backbone"
    raw = f"packaged_model.{lineup.packaged[judge]}" if judge in lineup.packaged else f"raw_checkpoint.{judge}"
    if judge in lineup.packaged or judge in lineup.imported:
        node = Node(import_raw_checkpoint, [raw, parameters, "backbone_store"], judge, name=judge)
    else:
        node = Node(import_named_backbone, [parameters, "backbone_store"], judge, name=judge)
    return Pipeline(
        [node],
        namespace="backbone",
        inputs=set(without_parameters(node.inputs)),
        parameters={parameters},
        tags=judge,
    )
