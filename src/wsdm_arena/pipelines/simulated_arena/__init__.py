"""The raw files of an arena whose voters are known."""

from wsdm_arena.pipelines.simulated_arena.pipeline import OUTPUTS, create_pipeline

__all__ = ["OUTPUTS", "create_pipeline"]
