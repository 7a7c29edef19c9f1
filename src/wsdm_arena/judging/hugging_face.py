"""Judges as model directories of transformers: how they are written, and what whoever reads one must know of it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from wsdm_arena.config import HeadConfig, TemplateConfig
from wsdm_arena.modeling.backbone_weights import read_config
from wsdm_arena.modeling.checkpoint import MAX_SHARD_SIZE, read_head, read_manifest
from wsdm_arena.modeling.sequence_classifier import (
    OWN_SCORE,
    SCORE,
    choose_pad_token,
    classifier_class,
    describe_classifier,
    describe_for_older_versions,
    write_classifier_weights,
)
from wsdm_arena.modeling.weight_files import INDEX_SUFFIX, SAFETENSORS, find_weight_files, open_weights
from wsdm_arena.prompts.template import render_template
from wsdm_arena.prompts.tokenizers import load_tokenizer
from wsdm_arena.runs.files import link_or_copy


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


def write_model_directory(
    checkpoint: Path, target: Path, manifest: Mapping[str, Any], *, template: TemplateConfig, system_role: bool
) -> dict[str, Mapping[str, Any]]:
    """Write a judge's checkpoint so that transformers reads it.

    Weights are linked, or written anew under the names that a sequence classifier has for them; what people edit is
    copied.

    Args:
        checkpoint: As :func:`~wsdm_arena.modeling.checkpoint.save_judge` wrote it.
        target: Exists.
        manifest: Of the checkpoint.
        template: Wording of the prompt, whose last token no batch may be padded with.
        system_role: Whether its chat template takes a system message.

    Returns:
        What the manifest says of the files that were linked.

    Raises:
        LayoutError: The weights are not those of the configuration.
        PromptError: Tokenizer and template do not go together.
        WeightFileError: The weights cannot be read.
    """
    config = read_config(checkpoint)
    architecture = classifier_class(config, HeadConfig(**manifest["head"]))
    linked = {name: file for name, file in manifest["files"].items() if name.endswith(SAFETENSORS)}
    for name in manifest["files"]:
        if architecture is not None and name.endswith((SAFETENSORS, INDEX_SUFFIX)):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (link_or_copy if name in linked else shutil.copyfile)(checkpoint / name, target / name)
    if architecture is not None:
        score = read_head(checkpoint, manifest)[OWN_SCORE]
        write_classifier_weights(checkpoint, target, score, max_shard_size=MAX_SHARD_SIZE)
        describe_classifier(
            target,
            architecture=architecture,
            num_classes=manifest["num_classes"],
            pad_token_id=_choose_padding(checkpoint, config, template, system_role),
        )
    describe_for_older_versions(target, config)
    return linked if architecture is None else {}


def _choose_padding(
    checkpoint: Path, config: PreTrainedConfig, template: TemplateConfig, system_role: bool
) -> int | None:
    tokenizer = load_tokenizer(checkpoint)
    rendered = render_template(tokenizer, template, system_role=system_role)
    last = rendered.after_battle[-1] if rendered.after_battle else -1
    return choose_pad_token(tokenizer, config, last_token=last)
