"""Fine-tuning on human battles."""

from wsdm_arena.pipelines.finetuning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
