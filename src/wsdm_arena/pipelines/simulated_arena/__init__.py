"""The raw files of an arena whose voters are known."""

from wsdm_arena.pipelines.simulated_arena.pipeline import create_pipeline

__all__ = ["create_pipeline"]
