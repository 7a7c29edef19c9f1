"""Causal attention with soft-capped scores, for where no kernel has it.

Scores are worked off in blocks that stay in a CPU's cache and bound a GPU's memory; the backward pass computes them
again instead of keeping them, so memory grows with the length, not with its square.

Shapes: G segments, H query heads, K key heads, R = H / K, L length, D head dimension.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

MAX_SCORES = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Scores of a block: 1 MiB in float32, about what a core's cache holds, and 256 MiB of a GPU's memory."""
MAX_QUERIES = {"cpu": 128, "cuda": 1024}
"""Queries of a block; keys after a block's last query are not computed."""


def softcap_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    softcap: float,
    window: int | None,
) -> torch.Tensor:
    """Attend causally with scores ``softcap * tanh(scale * q k / softcap)``.

    Args:
        query: ``(G, H, L, D)``.
        key: ``(G, K, L, D)``.
        value: ``(G, K, L, D)``.
        scale: Factor of the scores, before they are capped.
        softcap: Bound of the scores.
        window: A token sees this many tokens, itself included; None for all before it.

    Returns:
        ``(G, H, L, D)``. Scores and their softmax are computed in float32 at least.
    """
    return _SoftcapAttention.apply(query, key, value, scale, softcap, window)


@dataclass(frozen=True)
class _Block:
    """Queries ``[start, end)`` and the keys ``[first_key, end)`` they see, of segments ``[first, last)``."""

    first: int
    last: int
    start: int
    end: int
    first_key: int

    def queries(self, states: torch.Tensor) -> torch.Tensor:
        """``(G, K, R, L, D)`` -> ``(g, K, R * queries, D)``."""
        return states[self.first : self.last, :, :, self.start : self.end].flatten(2, 3)

    def keys(self, states: torch.Tensor) -> torch.Tensor:
        """``(G, K, L, D)`` -> ``(g, K, keys, D)``."""
        return states[self.first : self.last, :, self.first_key : self.end]


def _blocks(query: torch.Tensor, window: int | None) -> Iterator[_Block]:
    num_segments, num_heads, length, _ = query.shape
    limit, step = MAX_SCORES[query.device.type], MAX_QUERIES[query.device.type]
    for start in range(0, length, step):
        end = min(start + step, length)
        first_key = 0 if window is None else max(0, start - window + 1)
        together = max(1, limit // (num_heads * (end - start) * (end - first_key)))
        for first in range(0, num_segments, together):
            yield _Block(first, min(first + together, num_segments), start, end, first_key)


class _SoftcapAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        softcap: float,
        window: int | None,
    ) -> torch.Tensor:
        grouped = query.unflatten(1, (key.shape[1], -1))
        output = torch.empty_like(grouped)
        masks = _Masks(window, query.device)
        for block in _blocks(query, window):
            probs, _ = _probabilities(block, grouped, key, scale, softcap, masks)
            part = torch.matmul(probs.to(value.dtype), block.keys(value))
            output[block.first : block.last, :, :, block.start : block.end] = part.unflatten(2, (grouped.shape[2], -1))
        ctx.save_for_backward(query, key, value, output)
        ctx.scale, ctx.softcap, ctx.window = scale, softcap, window
        return output.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output = ctx.saved_tensors
        grouped = query.unflatten(1, (key.shape[1], -1))
        grad = grad.unflatten(1, (key.shape[1], -1))
        grad_query, grad_key, grad_value = torch.empty_like(grouped), torch.zeros_like(key), torch.zeros_like(value)
        masks = _Masks(ctx.window, query.device)
        for block in _blocks(query, ctx.window):
            probs, bent = _probabilities(block, grouped, key, ctx.scale, ctx.softcap, masks)
            grad_output = block.queries(grad)
            block.keys(grad_value).add_(torch.matmul(probs.to(grad.dtype).transpose(2, 3), grad_output))
            mean = (_wide(grad_output) * _wide(block.queries(output))).sum(3, keepdim=True)
            grad_scores = _wide(torch.matmul(grad_output, block.keys(value).transpose(2, 3))).sub_(mean).mul_(probs)
            grad_scores.addcmul_(grad_scores, bent.square_(), value=-1)  # of tanh: 1 - tanh^2
            grad_scores = grad_scores.to(query.dtype)
            part = torch.matmul(grad_scores, block.keys(key)).mul_(ctx.scale)
            grad_query[block.first : block.last, :, :, block.start : block.end] = part.unflatten(
                2, (grouped.shape[2], -1)
            )
            scaled = block.queries(grouped) * ctx.scale
            block.keys(grad_key).add_(torch.matmul(grad_scores.transpose(2, 3), scaled))
        return grad_query.flatten(1, 2), grad_key, grad_value, None, None, None


class _Masks:
    """Additive masks of one attention call, made once per shape."""

    def __init__(self, window: int | None, device: torch.device) -> None:
        self.window, self.device = window, device
        self._masks: dict[tuple[int, int], torch.Tensor] = {}

    def of(self, block: _Block) -> torch.Tensor:
        """``(queries, keys)``: 0 where a query sees a key, else minus infinity."""
        shape = (block.end - block.start, block.end - block.first_key)
        if shape not in self._masks:
            positions = torch.arange(shape[1], device=self.device)
            distance = positions[-shape[0] :, None] - positions
            hidden = distance < 0
            if self.window is not None:
                hidden |= distance >= self.window
            self._masks[shape] = torch.zeros(shape, device=self.device).masked_fill_(hidden, -math.inf)
        return self._masks[shape]


def _probabilities(
    block: _Block, query: torch.Tensor, key: torch.Tensor, scale: float, softcap: float, masks: _Masks
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax of the capped scores and their tanh, both ``(g, K, R * queries, keys)``."""
    scaled = block.queries(query) * (scale / softcap)
    bent = _wide(torch.matmul(scaled, block.keys(key).transpose(2, 3))).tanh_()
    repeats = query.shape[2]
    scores = torch.add(masks.of(block), bent.unflatten(2, (repeats, -1)), alpha=softcap)
    return torch.softmax(scores.flatten(2, 3), dim=-1), bent


def _wide(states: torch.Tensor) -> torch.Tensor:
    """Half precision is too coarse for scores."""
    return states if states.dtype == torch.float64 else states.float()
