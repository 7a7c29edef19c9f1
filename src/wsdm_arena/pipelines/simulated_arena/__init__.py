"""The raw files of an arena whose voters are known."""

from wsdm_arena.pipelines.simulated_arena.pipeline import TABLES, UNLABELLED, create_checkpoints, create_pipeline

__all__ = ["TABLES", "UNLABELLED", "create_checkpoints", "create_pipeline"]
