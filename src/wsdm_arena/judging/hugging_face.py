"""What people who read a bundle with transformers alone must know of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.backbone_weights import read_config
from wsdm_arena.modeling.checkpoint import read_head, read_manifest
from wsdm_arena.modeling.sequence_classifier import SCORE, classifier_class
from wsdm_arena.modeling.weight_files import find_weight_files, open_weights


@dataclass(frozen=True)
class ModelFacts:
    """A judge as transformers sees it.

    Attributes:
        model_type: Of the backbone, such as ``gemma2``.
        architecture: Class that reads the judge's plain bundle; None if the head lies beside an ``AutoModel``.
        num_parameters: Backbone and head.
        num_classes: 2, or 3 with ties.
        dtype: Of the weights.
        has_softcap: Whether attention logits are capped, which transformers does with eager attention only.
    """

    model_type: str
    architecture: str | None
    num_parameters: int
    num_classes: int
    dtype: str
    has_softcap: bool


def describe_model(checkpoint: Path) -> ModelFacts:
    """Read what a checkpoint, or a bundle with the plain layout, says of itself. Weights are mapped, not read.

    Raises:
        CheckpointError: It is damaged or something else.
        LayoutError: Its configuration is not that of a backbone.
        WeightFileError: Its weights cannot be read.
    """
    manifest, config = read_manifest(checkpoint), read_config(checkpoint)
    stored = open_weights(find_weight_files(checkpoint))
    backbone = sum(stored[key].numel() for key in stored if key != SCORE)
    head = sum(weight.numel() for weight in read_head(checkpoint, manifest).values())
    softcap: Any = getattr(config, "attn_logit_softcapping", None)
    return ModelFacts(
        model_type=manifest["model_type"],
        architecture=classifier_class(config, HeadConfig(**manifest["head"])),
        num_parameters=backbone + head,
        num_classes=manifest["num_classes"],
        dtype=manifest["dtype"],
        has_softcap=softcap is not None,
    )
