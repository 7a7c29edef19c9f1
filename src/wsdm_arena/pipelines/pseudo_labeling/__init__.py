"""Judges label pairs that no human voted on."""

from wsdm_arena.pipelines.pseudo_labeling.pipeline import create_pipeline

__all__ = ["create_pipeline"]
