"""The contest's inference layout: what its 2nd-place solution of 2024 saved, and what its inference code reads.

=========================================  ==========================================================
inference layout ("fused")                 transformers' backbone ("plain")
=========================================  ==========================================================
``model.layers.N.mlp.gate_up_proj.weight``  ``layers.N.mlp.gate_proj.weight`` above ``up_proj.weight``
any other ``model.<key>``                  ``<key>``
``score.*``                                (the head, another file)
=========================================  ==========================================================

Query, key and value projections stay apart. Weights are float16. A projection ``(rows, columns)`` maps ``columns``
inputs to ``rows`` outputs; gate and up have ``intermediate_size`` rows each.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from wsdm_arena.modeling.attention import IMPLEMENTATION
from wsdm_arena.modeling.backbone import load_config, without_noise
from wsdm_arena.modeling.backbone_weights import (
    LayoutError,
    backbone_class,
    cast_weight,
    check_weights,
    open_plain_backbone,
    plain_shapes,
)
from wsdm_arena.modeling.checkpoint import MAX_SHARD_SIZE, copy_tokenizer
from wsdm_arena.modeling.weight_files import LazyState, find_weight_files, open_weights, write_weights
from wsdm_arena.runs.directories import replacing_directory

PREFIX = "model."
"""Of every backbone weight in the inference layout, and in transformers' language models."""
HEAD_PREFIX = "score."
HEAD_KEYS: Mapping[str, str] = {
    "dense.weight": "score.1.weight",
    "dense.bias": "score.1.bias",
    "output.weight": "score.4.weight",
    "output.bias": "score.4.bias",
}
"""Our head's weights as the layout's ``nn.Sequential`` (dropout, linear, dropout, GELU, linear) numbers them."""
LINEAR_HEAD_KEYS: Mapping[str, str] = {"output.weight": "score.weight"}

_PROJECTION = re.compile(r"(?P<mlp>.*\.mlp\.)(?P<part>gate|up|gate_up)_proj\.(?P<kind>weight|bias)")


def split_projections(fused: Mapping[str, Tensor]) -> LazyState:
    """From the inference layout to plain keys: gate is the first half of the rows, up the second.

    Args:
        fused: Backbone weights only, all named ``model.*``.

    Returns:
        The plain state dict; its tensors are views, made as they are read.

    Raises:
        LayoutError: A key lacks the prefix, or a fused matrix has an odd number of rows.
    """
    readers = {}
    for key in fused:
        if not key.startswith(PREFIX):
            raise LayoutError(f"{key}: every backbone weight of the inference layout is named {PREFIX}*")
        name, match = key.removeprefix(PREFIX), _PROJECTION.fullmatch(key)
        if match is None or match["part"] != "gate_up":
            readers[name] = partial(fused.__getitem__, key)
            continue
        for half, part in enumerate(("gate", "up")):
            readers[name.replace("gate_up", part)] = partial(_half, fused, key, half)
    return LazyState(readers)


def fuse_projections(plain: Mapping[str, Tensor]) -> LazyState:
    """From plain keys to the inference layout; the inverse of :func:`split_projections`.

    Raises:
        LayoutError: A gate has no up projection or the other way round, or there is neither in the whole state dict.
    """
    readers = {}
    for key in plain:
        match = _PROJECTION.fullmatch(key)
        if match is None or match["part"] == "gate_up":
            readers[PREFIX + key] = partial(plain.__getitem__, key)
            continue
        gate, up = (f"{match['mlp']}{part}_proj.{match['kind']}" for part in ("gate", "up"))
        for other in (gate, up):
            if other not in plain:
                raise LayoutError(f"{key} has no {other} beside it to be fused with")
        readers[f"{PREFIX}{match['mlp']}gate_up_proj.{match['kind']}"] = partial(_stacked, plain, gate, up)
    return LazyState(readers)


def fused_shapes(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a backbone's weights in the inference layout; see :func:`plain_shapes` for the plain one.

    Raises:
        LayoutError: The family's MLP has no gate, or is fused already.
    """
    shapes = plain_shapes(config)
    for layer in range(config.num_hidden_layers):
        for part in ("gate", "up"):
            if f"layers.{layer}.mlp.{part}_proj.weight" not in shapes:
                raise LayoutError(
                    f"{config.model_type} has no layers.{layer}.mlp.{part}_proj.weight, so it has no inference layout: "
                    "its MLP has no gate, or none of its own; Gemma-2, Llama and their like do"
                )
    meta = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return {key: tuple(value.shape) for key, value in fuse_projections(meta).items()}


def write_fused_checkpoint(
    source: Path, target: Path, *, dtype: torch.dtype = torch.float16, head: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a plain checkpoint's backbone in the inference layout, with its tokenizer, into a directory of its own.

    Args:
        source: A plain backbone, or a judge's checkpoint, whose head is only taken if it is handed over as ``head``.
        target: Replaced as a whole if it exists.
        dtype: See :func:`write_fused_files`.
        head: See :func:`write_fused_files`.

    Returns:
        ``target``.

    Raises:
        LayoutError: See :func:`write_fused_files`.
        WeightFileError: The weights cannot be read.
    """
    with replacing_directory(target) as unfinished:
        write_fused_files(source, unfinished, dtype=dtype, head=head)
    return target


def write_fused_files(
    source: Path, directory: Path, *, dtype: torch.dtype = torch.float16, head: Mapping[str, Tensor] | None = None
) -> None:
    """Write a plain checkpoint's backbone in the inference layout, with its tokenizer, into a directory that exists.

    Args:
        source: A plain backbone, or a judge's checkpoint, whose head is only taken if it is handed over as ``head``.
        directory: Part of a directory that appears as a whole.
        dtype: Of all weights.
        head: ``dense.*`` and ``output.*``, or ``output.weight`` alone, with any number of classes.

    Raises:
        LayoutError: The backbone has no inference layout, its weights are not those of its configuration, a head's
            weight has no place in the layout, or a number is too large for ``dtype``.
        WeightFileError: The weights cannot be read.
    """
    config, plain = open_plain_backbone(source)
    fused, scores = fuse_projections(plain), _rename_head(head or {})
    shapes = fused_shapes(config) | {key: tuple(value.shape) for key, value in scores.items()}
    whole = LazyState({key: partial(_cast, scores if key in scores else fused, key, dtype) for key in shapes})
    like = {key: torch.empty(shape, dtype=dtype, device="meta") for key, shape in shapes.items()}
    write_weights(directory, whole, like=like, max_shard_size=MAX_SHARD_SIZE)
    config.architectures = None  # no class of transformers reads this layout
    config.dtype = dtype
    config.save_pretrained(str(directory))
    copy_tokenizer(source, directory)


def load_fused_checkpoint(
    directory: Path, *, sliding_window: bool, dtype: torch.dtype
) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """Load what :func:`write_fused_checkpoint` wrote, with its projections split again.

    Args:
        directory: With ``config.json`` and weights.
        sliding_window: See :func:`~wsdm_arena.modeling.backbone.prepare_config`.
        dtype: Of the weights in memory.

    Returns:
        The backbone, ready for packed sequences, and the head's weights under our names; empty where there is no head.

    Raises:
        LayoutError: The weights are not those of the configuration.
        UnsupportedJudgeError: There is no configuration.
        WeightFileError: The weights cannot be read.
    """
    config = load_config(directory, sliding_window=sliding_window)
    stored = open_weights(find_weight_files(directory))
    scores = {key for key in stored if key.startswith(HEAD_PREFIX)}
    fused = LazyState.renamed(stored, {key: key for key in stored if key not in scores})
    check_weights(fused, fused_shapes(config), place=f"{directory}, read as a fused {config.model_type}")
    with without_noise():
        backbone = backbone_class(config).from_pretrained(
            None,
            config=config,
            state_dict=dict(split_projections(fused)),
            dtype=dtype,
            attn_implementation=IMPLEMENTATION,
        )
    head_keys = LINEAR_HEAD_KEYS if scores == set(LINEAR_HEAD_KEYS.values()) else HEAD_KEYS
    if scores and scores != set(head_keys.values()):
        raise LayoutError(f"{directory} holds a head of {sorted(scores)}; it takes {sorted(HEAD_KEYS.values())}")
    return backbone, {own: stored[key].to(dtype) for own, key in head_keys.items() if scores}


def _half(fused: Mapping[str, Tensor], key: str, half: int) -> Tensor:
    both = fused[key]
    if both.shape[0] % 2:
        raise LayoutError(f"{key} {tuple(both.shape)} has an odd number of rows: it cannot be gate and up projection")
    return both.chunk(2)[half]


def _stacked(plain: Mapping[str, Tensor], gate: str, up: str) -> Tensor:
    return torch.cat([plain[gate], plain[up]])


def _cast(state: Mapping[str, Tensor], key: str, dtype: torch.dtype) -> Tensor:
    return cast_weight(key, state[key], dtype)


def _rename_head(head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = LINEAR_HEAD_KEYS if set(head) == set(LINEAR_HEAD_KEYS) else HEAD_KEYS
    if head and set(head) != set(names):
        raise LayoutError(f"a head of {sorted(head)} has no place in the inference layout; it takes {sorted(names)}")
    return {names[key]: value for key, value in head.items()}
