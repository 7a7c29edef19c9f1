"""Fine-tuning on human battles, and on pseudo-labelled pairs beside them."""

from wsdm_arena.pipelines.finetuning.pipeline import create_pipeline, create_stage

__all__ = ["create_pipeline", "create_stage"]
