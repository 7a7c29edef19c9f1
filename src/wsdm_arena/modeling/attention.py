"""The one attention switch: how packed segments attend, by which kernel.

All kernels stand behind one function, registered with transformers as ``"packed"``; unmodified backbones call it. What
it must know of a batch travels in an :class:`AttentionPlan` through the backbone's keyword arguments, made once per
batch and read by every layer. No mask is ever made: ``"packed"`` has no mask function in transformers.

Shapes: T tokens, H heads of queries, K heads of keys and values, D head dimension.
"""

import importlib.util
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

import torch
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, PreTrainedConfig

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.errors import UserError
from wsdm_arena.modeling.flex import block_mask, flex_function, softcap_mod
from wsdm_arena.modeling.segments import SegmentLayout, segment_attention

logger = logging.getLogger(__name__)

IMPLEMENTATION = "packed"
"""Name of our attention function in transformers."""
KernelName = Literal["flash_attention", "varlen", "flex", "segments"]


class UnsupportedJudgeError(UserError, ValueError):
    """This machine or this library cannot run what was asked for."""


@dataclass(frozen=True)
class AttentionPlan:
    """What the layers must know of one packed batch.

    Attributes:
        kernel: Which kernel attends.
        cu_seqlens: Where segments begin, and T, shape ``(S + 1,)``, int32.
        max_seqlen: Tokens of the longest segment.
        layout: For ``segments``.
        block_masks: For ``flex``, by sliding window; None is the full one.
        repeats_heads: For ``varlen``: whether each query head must get keys and values of its own.
    """

    kernel: KernelName
    cu_seqlens: torch.Tensor
    max_seqlen: int
    layout: SegmentLayout | None
    block_masks: dict[int | None, BlockMask]
    repeats_heads: bool = False


def choose_attention(
    config: PreTrainedConfig, device: torch.device, dtype: torch.dtype, requested: AttentionName
) -> KernelName:
    """Resolve ``auto`` to the fastest kernel that this machine and model allow; check any other request.

    Args:
        config: Of the backbone.
        device: Where the judge runs.
        dtype: In which it computes.
        requested: A kernel, or ``auto``.

    Raises:
        UnsupportedJudgeError: The requested kernel cannot work here; the message names what is missing.
    """
    if requested == "auto":
        chosen = next(name for name in get_args(KernelName) if _missing(name, config, device, dtype) is None)
        logger.info("attention: %s on %s in %s", chosen, device, dtype)
        return cast(KernelName, chosen)
    missing = _missing(requested, config, device, dtype)
    if missing is not None:
        raise UnsupportedJudgeError(
            f"attention={requested!r} cannot run this judge ({config.model_type}, {dtype}, {device}): {missing}; "
            "use attention: auto"
        )
    return requested


def plan_attention(kernel: KernelName, batch: PackedBatch, config: PreTrainedConfig) -> AttentionPlan:
    """Prepare what all layers share; once per batch, on the host but for flex's masks."""
    layout = None
    block_masks = {}
    if kernel == "segments":
        heads = (config.num_attention_heads, config.num_key_value_heads)
        layout = SegmentLayout(batch.boundaries, heads, batch.input_ids.device)
    elif kernel == "flex":
        block_masks = {window: block_mask(batch, window) for window in _windows(config)}
    # Found out here, not in the layers, where torch.compile could not look at a signature.
    repeats_heads = kernel == "varlen" and not _takes("enable_gqa", _varlen_function())
    return AttentionPlan(kernel, batch.cu_seqlens, batch.max_seqlen, layout, block_masks, repeats_heads)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    attention_plan: AttentionPlan | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within segments; the function that transformers' attention layers call.

    Args:
        module: The calling layer; not used.
        query: ``(1, H, T, D)``.
        key: ``(1, K, T, D)``.
        value: ``(1, K, T, D)``.
        attention_mask: Must be None.
        attention_plan: Of this batch.
        scaling: Factor of the scores; ``D ** -0.5`` by default.
        sliding_window: A token sees this many tokens, itself included.
        softcap: Bound of the scores.
        dropout: Must be 0: packed kernels have none.

    Returns:
        ``(1, T, H, D)``, and no attention weights.
    """
    if attention_plan is None or attention_mask is not None or dropout:
        raise UnsupportedJudgeError(
            "packed attention needs the batch's attention_plan, no mask and no attention dropout; "
            "call the judge, not its backbone"
        )
    kernel = _KERNELS[attention_plan.kernel]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return kernel(query, key, value, attention_plan, scale, sliding_window, softcap), None


def _effective_window(window: int | None, max_seqlen: int) -> int | None:
    """A window that no segment exceeds is none; kernels are faster without."""
    return None if window is None or window >= max_seqlen else window


def _attend_flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    plan: AttentionPlan,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    window = _effective_window(window, plan.max_seqlen)
    output = _flash_function()(
        *(states[0].transpose(0, 1) for states in (query, key, value)),
        plan.cu_seqlens,
        plan.cu_seqlens,
        plan.max_seqlen,
        plan.max_seqlen,
        softmax_scale=scale,
        causal=True,
        window_size=(-1 if window is None else window - 1, 0),  # counts tokens to the left, without itself
        softcap=softcap or 0.0,
    )
    return output.unsqueeze(0)


def _attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    plan: AttentionPlan,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    assert softcap is None, "choose_attention refuses varlen for soft-capped scores"
    window = _effective_window(window, plan.max_seqlen)
    grouping: dict[str, bool] = {}
    if plan.repeats_heads:
        key, value = (states.repeat_interleave(query.shape[1] // states.shape[1], dim=1) for states in (key, value))
    else:
        grouping["enable_gqa"] = query.shape[1] != key.shape[1]
    output = _varlen_function()(
        *(states[0].transpose(0, 1) for states in (query, key, value)),
        plan.cu_seqlens,
        plan.cu_seqlens,
        plan.max_seqlen,
        plan.max_seqlen,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        **grouping,
    )
    return output.unsqueeze(0)


def _attend_flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    plan: AttentionPlan,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    output = flex_function()(
        query,
        key,
        value,
        score_mod=None if softcap is None else softcap_mod(softcap),
        block_mask=plan.block_masks[window],
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


def _attend_segments(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    plan: AttentionPlan,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    assert plan.layout is not None
    return segment_attention(query, key, value, plan.layout, scale=scale, window=window, softcap=softcap)


_KERNELS: dict[str, Callable[..., torch.Tensor]] = {
    "flash_attention": _attend_flash,
    "varlen": _attend_varlen,
    "flex": _attend_flex,
    "segments": _attend_segments,
}
AttentionInterface.register(IMPLEMENTATION, packed_attention)


@lru_cache(maxsize=1)
def _flash_function() -> Callable[..., Any]:
    from flash_attn import flash_attn_varlen_func

    return flash_attn_varlen_func


@lru_cache(maxsize=1)
def _varlen_function() -> Callable[..., Any]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


def _takes(argument: str, function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters
    return argument in parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _windows(config: PreTrainedConfig) -> set[int | None]:
    """The sliding windows that the layers of a backbone have; None for layers that read everything."""
    window = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None) or ["sliding_attention"]
    return {window if layer_type == "sliding_attention" else None for layer_type in layer_types}


def _missing(name: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> str | None:
    """What a kernel lacks for this judge on this machine; None if nothing."""
    if name == "segments":
        return None
    if device.type != "cuda":
        return "it needs a CUDA device"
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return f"it needs compute capability 8.0, this device has {capability[0]}.{capability[1]}"
    if name == "flex":
        return None if importlib.util.find_spec("triton") else "it needs the package triton"
    return _missing_for_flash(name, config, dtype)


def _missing_for_flash(name: str, config: PreTrainedConfig, dtype: torch.dtype) -> str | None:
    if dtype not in (torch.float16, torch.bfloat16):
        return f"it needs float16 or bfloat16, not {dtype}"
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim > 256:
        return f"its heads have at most 256 dimensions, these have {head_dim}"
    if name == "flash_attention":
        return _error_of_flash_import()
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return f"it needs torch >= 2.10, this is {torch.__version__}"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "it has no soft-capping"
    return None


def _error_of_flash_import() -> str | None:
    """Whether flash-attn is installed does not tell whether it was built for this torch; importing it does."""
    try:
        _flash_function()  # version 4 of the package has another one
    except (ImportError, OSError) as error:
        return f"it needs the package flash-attn ({error}): `make flash-attn` builds it for the installed torch"
    return None
