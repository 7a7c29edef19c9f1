"""Which weights a backbone has, and whether a checkpoint holds exactly those."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig

from wsdm_arena.errors import UserError
from wsdm_arena.modeling.backbone import LANGUAGE_MODEL_HEAD
from wsdm_arena.modeling.weight_files import LazyState, find_weight_files, open_weights

_DERIVED = re.compile(r"(.*\.)?rotary_emb\.inv_freq")
"""Rotary frequencies, which old checkpoints hold and transformers computes from the configuration."""
_PLAIN_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Weights and stored buffers of transformers' decoders are of no other type, unless they are quantized."""
_SHOWN = 6


class LayoutError(UserError, RuntimeError):
    """Weights are not what their configuration and layout say."""


@dataclass(frozen=True)
class SortedKeys:
    """What is to be done with each weight of a checkpoint.

    Attributes:
        backbone: To be read.
        old_head: Left behind on purpose.
        ignored: A language model's output layer and rotary frequencies, which are no part of a backbone.
    """

    backbone: tuple[str, ...]
    old_head: tuple[str, ...]
    ignored: tuple[str, ...]


def sort_keys(keys: Iterable[str], *, old_head: Sequence[str] = ()) -> SortedKeys:
    """Tell a backbone's weights from those that are left behind.

    Args:
        keys: Of a checkpoint.
        old_head: Prefixes of an old head's weights.
    """
    parts: dict[str, list[str]] = {"backbone": [], "old_head": [], "ignored": []}
    for key in sorted(keys):
        is_ignored = key.startswith(LANGUAGE_MODEL_HEAD) or _DERIVED.fullmatch(key)
        is_old = bool(old_head) and key.startswith(tuple(old_head))
        parts["old_head" if is_old else "ignored" if is_ignored else "backbone"].append(key)
    return SortedKeys(**{name: tuple(part) for name, part in parts.items()})


def read_config(directory: Path) -> PreTrainedConfig:
    """Read a backbone's configuration as it stands; code that lies beside it is never run.

    Raises:
        LayoutError: There is none, or transformers knows no backbone of that kind.
    """
    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise LayoutError(f"{directory} holds no config.json of a transformers model: {error}") from error
    if type(config) not in MODEL_MAPPING:
        raise LayoutError(f"{directory / 'config.json'} describes {config.model_type!r}, which has no plain backbone")
    return config


def plain_config(config: PreTrainedConfig, *, dtype: torch.dtype) -> PreTrainedConfig:
    """The configuration of the backbone alone: no head, no code that somebody keeps elsewhere."""
    plain = type(config).from_dict(config.to_dict())
    plain.architectures = [backbone_class(config).__name__]
    plain.dtype = dtype
    if hasattr(plain, "auto_map"):
        del plain.auto_map
    return plain


def backbone_class(config: PreTrainedConfig) -> Any:
    """Transformers' own model of that configuration, without a head."""
    return MODEL_MAPPING[type(config)]


def plain_shapes(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a backbone's weights, as transformers' own model of that configuration has them.

    Raises:
        LayoutError: The configuration describes no model.
    """
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError, AttributeError) as error:
        raise LayoutError(f"no {config.model_type} can be made of this configuration: {error}") from error
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def check_weights(state: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], *, place: str) -> None:
    """Account for every key.

    Args:
        state: What a checkpoint holds.
        expected: Names and shapes that it should hold.
        place: What the message calls it.

    Raises:
        LayoutError: A key is missing or too many, has another shape or is quantized; the message names it and both
            shapes.
    """
    problems = [f"{key} {expected[key]} is missing" for key in expected if key not in state]
    for key in state:
        tensor = state[key]
        shape = tuple(tensor.shape)
        if key not in expected:
            problems.append(f"{key} {shape} is unexpected")
        elif shape != expected[key]:
            problems.append(f"{key} has shape {shape} instead of {expected[key]}")
        elif tensor.dtype not in _PLAIN_TYPES:
            types = ", ".join(str(dtype).removeprefix("torch.") for dtype in _PLAIN_TYPES)
            problems.append(f"{key} holds {tensor.dtype}, as quantized weights do; it must be one of {types}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise LayoutError(f"{place}: {'; '.join(problems[:_SHOWN])}{more}")


def cast_weight(key: str, stored: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Give a weight another type.

    Raises:
        LayoutError: A number becomes infinite; the message names the weight.
    """
    if stored.dtype == dtype:
        return stored
    cast = stored.to(dtype)
    if not _is_finite(cast) and _is_finite(stored):
        raise LayoutError(f"{key} holds {float(stored.abs().max()):g}, which is too large for {dtype}")
    return cast


def require_castable(cast: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor]) -> None:
    """Make sure that weights which something else has given another type did not become infinite.

    Args:
        cast: The weights in their new type.
        stored: What they were; only those are read that are not finite any more.

    Raises:
        LayoutError: One did; the message names it.
    """
    for key, weight in cast.items():
        if key in stored and not _is_finite(weight):
            cast_weight(key, stored[key], weight.dtype)


def _is_finite(tensor: torch.Tensor) -> bool:
    """By the extremes, which are infinite or NaN if any value is: ``isfinite`` would take twice the tensor's memory."""
    return all(bool(torch.isfinite(extreme)) for extreme in tensor.aminmax()) if tensor.numel() else True


def plain_names(keys: Iterable[str], config: PreTrainedConfig, expected: Iterable[str]) -> dict[str, str]:
    """The backbone's own name of each weight: a language model's have a prefix, such as ``model.``.

    Returns:
        ``{own name: stored key}``; a weight that the backbone does not have keeps its name.

    Raises:
        LayoutError: A weight stands there under both names.
    """
    prefix, own = f"{backbone_class(config).base_model_prefix}.", set(expected)
    names: dict[str, str] = {}
    for key in keys:
        shorter = key.removeprefix(prefix)
        name = shorter if key not in own and shorter in own else key
        if name in names:
            raise LayoutError(f"{name} stands there twice, as {names[name]} and as {key}")
        names[name] = key
    return names


def open_plain_backbone(directory: Path) -> tuple[PreTrainedConfig, LazyState]:
    """Read a plain checkpoint's backbone weights under the backbone's own names, checked.

    Raises:
        LayoutError: The weights are not those of the configuration.
        WeightFileError: They cannot be read.
    """
    config = read_config(directory)
    stored, expected = open_weights(find_weight_files(directory)), plain_shapes(config)
    state = LazyState.renamed(stored, plain_names(sort_keys(stored).backbone, config, expected))
    check_weights(state, expected, place=f"{directory}, read as a plain {config.model_type}")
    return config, state
