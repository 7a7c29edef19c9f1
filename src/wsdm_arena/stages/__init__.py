"""What the pipelines have in common: one template of a training for every stage and judge."""

from wsdm_arena.stages.training import judge_training

__all__ = ["judge_training"]
