"""Fine-tuning on human battles, and on pseudo-labelled pairs beside them."""

from wsdm_arena.pipelines.finetuning.pipeline import STAGES, create_pipeline, create_stage

__all__ = ["STAGES", "create_pipeline", "create_stage"]
