"""The raw files of an arena whose voters are known."""

from wsdm_arena.pipelines.simulated_arena.nodes import CHECKPOINTS
from wsdm_arena.pipelines.simulated_arena.pipeline import TABLES, UNLABELLED, create_checkpoints, create_pipeline

__all__ = ["CHECKPOINTS", "TABLES", "UNLABELLED", "create_checkpoints", "create_pipeline"]
