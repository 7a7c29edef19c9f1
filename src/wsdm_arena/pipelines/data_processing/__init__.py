"""From raw tables to validated battles and test pairs."""

from wsdm_arena.pipelines.data_processing.pipeline import create_pipeline

__all__ = ["create_pipeline"]
