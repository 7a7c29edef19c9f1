"""Verdicts on the test pairs."""

from wsdm_arena.pipelines.submission.pipeline import create_pipeline

__all__ = ["create_pipeline"]
