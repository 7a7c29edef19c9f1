"""Expanded pretraining on everything that judges have labelled."""

from wsdm_arena.pipelines.pretraining.pipeline import create_pipeline

__all__ = ["create_pipeline"]
