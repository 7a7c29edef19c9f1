"""What the judges are worth."""

from wsdm_arena.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
