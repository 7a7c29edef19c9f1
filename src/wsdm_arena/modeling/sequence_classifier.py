"""Judges with a linear head, a verbalizer included, as transformers' own sequence classifiers.

A linear head without bias on the last token is what transformers calls ``<Family>ForSequenceClassification``: the
backbone's weights are named ``model.*``, the head's is ``score.weight``, and ``config.json`` names the classes, so that
``AutoModelForSequenceClassification`` reads it. A judge with another head, or of a family that has no such class, stays
a backbone beside ``head.safetensors``.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig

from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.backbone_weights import open_plain_backbone, plain_shapes
from wsdm_arena.modeling.weight_files import LazyState, find_weight_files, open_weights, write_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BACKBONE_PREFIX = "model."
SCORE = "score.weight"
"""Where transformers keeps a classifier's head; ``(classes, hidden size)``."""
OWN_SCORE = "output.weight"
"""The same in :class:`~wsdm_arena.modeling.head.Head`."""
CLASS_NAMES = ("first_answer_preferred", "second_answer_preferred", "tie")
"""Classes by number, as displayed: class 0 says that the answer shown first is preferred."""
_CONFIG = "config.json"


def classifier_class(config: PreTrainedConfig, head: HeadConfig) -> str | None:
    """Name transformers' class that reads a judge of this backbone and head; None if none does.

    Args:
        config: Of the backbone.
        head: Kind of the head.
    """
    if head.kind == "mlp" or type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    found: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    with torch.device("meta"):
        keys = set(found(config).state_dict())
    expected = {BACKBONE_PREFIX + key for key in plain_shapes(config)} | {SCORE}
    return str(found.__name__) if keys == expected else None


def write_classifier_weights(
    checkpoint: Path, directory: Path, score: torch.Tensor, *, max_shard_size: int | str
) -> None:
    """Write a judge's weights under the names that a sequence classifier has.

    Args:
        checkpoint: Directory of the backbone, one of our checkpoints.
        directory: Exists.
        score: Of the head, ``(classes, hidden size)``.
        max_shard_size: Bytes, or text such as ``"4GB"``.

    Raises:
        LayoutError: The weights are not those of the configuration.
        WeightFileError: They cannot be read.
    """
    _, plain = open_plain_backbone(checkpoint)
    readers = {BACKBONE_PREFIX + key: partial(plain.__getitem__, key) for key in plain}
    state = LazyState(readers | {SCORE: lambda: score})
    like = {key: torch.empty_like(state[key], device="meta") for key in state}
    write_weights(directory, state, like=like, max_shard_size=max_shard_size)


def describe_classifier(directory: Path, *, architecture: str, num_classes: int, pad_token_id: int | None) -> None:
    """Say in a ``config.json`` that is there already that the directory holds a sequence classifier.

    Args:
        directory: Of the bundle.
        architecture: Of :func:`classifier_class`.
        num_classes: 2, or 3 with ties.
        pad_token_id: Of :func:`choose_pad_token`. The classifier reads the last token that is another.
    """
    names = CLASS_NAMES[:num_classes]
    _update_config(
        directory,
        {
            "architectures": [architecture],
            "id2label": {str(number): name for number, name in enumerate(names)},
            "label2id": {name: number for number, name in enumerate(names)},
            "problem_type": "single_label_classification",
            "pad_token_id": pad_token_id,
        },
    )


def describe_for_older_versions(directory: Path, config: PreTrainedConfig) -> None:
    """Say once more in ``config.json``, in the words of transformers 4, what version 5 has renamed.

    Without them, version 4 would take its defaults in silence: another rotary base, and windows in layers where
    the judge has none. Version 5 reads its own words first.

    Args:
        directory: Of the bundle.
        config: Of the backbone.
    """
    rotary: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    older: dict[str, Any] = {}
    if "rope_theta" in rotary:
        older["rope_theta"] = rotary["rope_theta"]
        if rotary.get("rope_type", "default") != "default":
            older["rope_scaling"] = {key: value for key, value in rotary.items() if key != "rope_theta"}
    elif "full_attention" in rotary and "sliding_attention" in rotary:  # Gemma-3
        older["rope_theta"] = rotary["full_attention"]["rope_theta"]
        older["rope_local_base_freq"] = rotary["sliding_attention"]["rope_theta"]
    layer_types = getattr(config, "layer_types", None) or ()
    if set(layer_types) == {"full_attention"} and getattr(config, "sliding_window", None):
        older["sliding_window"] = config.max_position_embeddings  # before 4.53 every second layer has the window
    _update_config(directory, older)


def choose_pad_token(tokenizer: "PreTrainedTokenizerBase", config: PreTrainedConfig, *, last_token: int) -> int | None:
    """Choose the token that batches are padded with.

    A sequence classifier reads the last token that is not the padding, so the padding must not be the token that every
    prompt ends with. The tokenizer's own choice comes first, then the configuration's, then a token that ends texts.

    Args:
        tokenizer: Of the judge.
        config: Of the backbone.
        last_token: With which every prompt ends.

    Returns:
        An id that the tokenizer knows; None if there is none, then only single sequences can be read.
    """
    candidates = [tokenizer.pad_token_id, getattr(config, "pad_token_id", None), tokenizer.eos_token_id]
    candidates += sorted(tokenizer.all_special_ids)
    for candidate in candidates:
        token_id = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if not isinstance(token_id, int) or token_id == last_token:
            continue
        if 0 <= token_id < config.vocab_size and tokenizer.convert_ids_to_tokens(token_id) is not None:
            return token_id
    return None


def read_score(directory: Path) -> dict[str, torch.Tensor]:
    """Read a sequence classifier's head under our own name; empty if the directory holds none.

    Raises:
        WeightFileError: The weights cannot be read.
    """
    stored = open_weights(find_weight_files(directory))
    return {OWN_SCORE: stored[SCORE].clone()} if SCORE in stored else {}


def _update_config(directory: Path, changes: Mapping[str, Any]) -> None:
    path = directory / _CONFIG
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | dict(changes), indent=2, sort_keys=True) + "\n", encoding="utf-8")
