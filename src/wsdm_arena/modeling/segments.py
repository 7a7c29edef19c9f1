"""Attention within segments that runs everywhere: CPUs, old GPUs, any dtype.

Segments of similar length are laid side by side in right-padded groups, so that one call serves many of them; the cost
is the sum of the squared lengths, not the square of their sum. A causal query never looks to its right, so padding is
never seen and no segment sees another. Groups and index tables are made once per batch, on the host.

Shapes: T tokens, H heads (of queries), K heads of keys and values, D head dimension; in a group G segments of padded
length L. ``rows`` are vectors of D numbers: token t, head h is row ``t * H + h``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from wsdm_arena.modeling.softcap import softcap_attention

MAX_PADDED_SHARE = 0.12
"""Segments join a group while they are at most this share, plus ``FREE_PADDING`` tokens, shorter than its longest."""
FREE_PADDING = 4
"""For tiny segments a further group costs more than the padding that it saves."""
MIN_QUERY_BLOCK, MAX_QUERY_BLOCK = 64, 1024
"""Bounds of the query blocks of a sliding window, in tokens."""


@dataclass(frozen=True)
class SegmentGroup:
    """Segments padded to one length: ``num_segments * length`` slots from ``first_slot`` on."""

    num_segments: int
    length: int
    first_slot: int


class SegmentLayout:
    """Where each token of a packed batch lies in the padded groups.

    Args:
        boundaries: Where segments begin, and the number of tokens; on the host.
        num_heads: The head counts that will be asked for (of queries, of keys).
        device: Where attention runs.
    """

    def __init__(self, boundaries: Sequence[int], num_heads: Sequence[int], device: torch.device) -> None:
        starts, lengths = np.asarray(boundaries[:-1]), np.diff(boundaries)
        order = np.argsort(-lengths, kind="stable")
        self.groups = group_lengths(lengths[order])
        self.num_slots = self.groups[-1].first_slot + self.groups[-1].num_segments * self.groups[-1].length
        self._tables = {
            heads: _row_tables(self.groups, starts[order], lengths[order], heads, device) for heads in set(num_heads)
        }

    def gather(self, states: torch.Tensor) -> list[torch.Tensor]:
        """Lay states ``(1, H, T, D)`` out in groups, each ``(G, H, L, D)``."""
        _, heads, num_tokens, dim = states.shape
        to_slots, to_tokens = self._tables[heads]
        rows = states[0].transpose(0, 1).reshape(num_tokens * heads, dim)
        padded = _Gather.apply(rows, to_slots, to_tokens)
        sizes = [group.num_segments * group.length * heads for group in self.groups]
        return [
            part.view(group.num_segments, heads, group.length, dim)
            for part, group in zip(padded.split(sizes), self.groups, strict=True)
        ]

    def scatter(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Bring outputs ``(G, H, L, D)`` of all groups back to ``(1, T, H, D)``."""
        heads, dim = outputs[0].shape[1], outputs[0].shape[3]
        _, to_tokens = self._tables[heads]
        padded = torch.cat([output.reshape(-1, dim) for output in outputs])
        return _Scatter.apply(padded, to_tokens).view(1, -1, heads, dim)


@torch.compiler.disable
def segment_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: SegmentLayout,
    *,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attend causally within each segment.

    Args:
        query: ``(1, H, T, D)``.
        key: ``(1, K, T, D)``; K divides H.
        value: ``(1, K, T, D)``.
        layout: Of this batch.
        scale: Factor of the scores.
        window: A token sees this many tokens, itself included; None for all before it.
        softcap: Scores are bent to ``softcap * tanh(score / softcap)``; None leaves them.

    Returns:
        ``(1, T, H, D)``.
    """
    groups = zip(layout.gather(query), layout.gather(key), layout.gather(value), strict=True)
    return layout.scatter([_attend(q, k, v, scale, window, softcap) for q, k, v in groups])


def group_lengths(lengths: np.ndarray) -> list[SegmentGroup]:
    """Cut lengths, longest first, into groups of similar length.

    Example:
        >>> [(group.num_segments, group.length) for group in group_lengths(np.array([100, 90, 50, 49]))]
        [(2, 100), (2, 50)]
    """
    groups = []
    start = first_slot = 0
    while start < lengths.size:
        longest = int(lengths[start])
        shortest = longest - int(MAX_PADDED_SHARE * longest) - FREE_PADDING
        end = int(np.searchsorted(-lengths, -shortest, side="right"))
        groups.append(SegmentGroup(end - start, longest, first_slot))
        first_slot += (end - start) * longest
        start = end
    return groups


def _row_tables(
    groups: Sequence[SegmentGroup], starts: np.ndarray, lengths: np.ndarray, heads: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the tables from padded rows to token rows and back, for segments in the groups' order."""
    head = np.arange(heads)[None, :, None]
    to_slots, to_tokens = [], np.empty(int(lengths.sum()) * heads, dtype=np.int64)
    first = 0
    for group in groups:
        members = slice(first, first + group.num_segments)
        first += group.num_segments
        offsets = np.arange(group.length)
        within = offsets < lengths[members, None]
        tokens = starts[members, None] + np.minimum(offsets, lengths[members, None] - 1)  # padding repeats the last
        rows = tokens[:, None, :] * heads + head  # (G, H, L)
        slots = group.first_slot * heads + np.arange(rows.size).reshape(rows.shape)
        real = np.broadcast_to(within[:, None, :], rows.shape)
        to_tokens[rows[real]] = slots[real]
        to_slots.append(rows.ravel())
    return _to_device(np.concatenate(to_slots), device), _to_device(to_tokens, device)


def _to_device(table: np.ndarray, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(table)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class _Gather(torch.autograd.Function):
    """Rows of tokens -> padded rows. Padding gets no gradient, so going back is a gather, too."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, to_slots: torch.Tensor, to_tokens: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(to_tokens)
        return rows.index_select(0, to_slots)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (to_tokens,) = ctx.saved_tensors
        return grad.index_select(0, to_tokens), None, None


class _Scatter(torch.autograd.Function):
    """Padded rows -> rows of tokens; what was computed for padding is dropped."""

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, to_tokens: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(to_tokens)
        ctx.num_rows = padded.shape[0]
        return padded.index_select(0, to_tokens)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (to_tokens,) = ctx.saved_tensors
        return grad.new_zeros(ctx.num_rows, grad.shape[1]).index_copy_(0, to_tokens, grad), None


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attend causally in one group, ``(G, H, L, D)``."""
    length = query.shape[2]
    window = None if window is None or window >= length else window
    if softcap is not None:
        return softcap_attention(query, key, value, scale=scale, softcap=softcap, window=window)
    if window is None:
        return _sdpa(query, key, value, scale)
    prefix = [part[:, :, :window] for part in (query, key, value)]
    outputs = [_sdpa(prefix[0], prefix[1], prefix[2], scale)]
    block = min(max(window, MIN_QUERY_BLOCK), MAX_QUERY_BLOCK)
    for start in range(window, length, block):
        end, first_key = min(start + block, length), start - window + 1
        seen = band_mask(end - start, end - first_key, window, query.device)
        keys, values = key[:, :, first_key:end], value[:, :, first_key:end]
        outputs.append(_sdpa(query[:, :, start:end], keys, values, scale, seen))
    return torch.cat(outputs, dim=2)


def band_mask(num_queries: int, num_keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Say which of the last ``num_keys`` tokens each of the last ``num_queries`` sees, ``(queries, keys)``, bool."""
    queries = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    distance = queries - torch.arange(num_keys, device=device)
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def _sdpa(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None = None
) -> torch.Tensor:
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.is_cuda:  # only the slow kernel takes grouped heads on GPUs without FlashAttention
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        grouped = False
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )
