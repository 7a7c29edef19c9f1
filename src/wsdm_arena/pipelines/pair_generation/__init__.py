"""New pairs: prompts mined from conversations, each answered by two models."""

from wsdm_arena.pipelines.pair_generation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
