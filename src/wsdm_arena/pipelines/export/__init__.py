"""Judges as they leave the project."""

from wsdm_arena.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
