"""What flex_attention needs of a packed batch: block masks, a soft-cap, and to be compiled."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from wsdm_arena.batching.packed import PackedBatch

TILE = 128
"""Side of a tile of the block mask, in tokens (flex_attention's default)."""

MAX_VARIANTS = 64
"""Compiled variants of flex_attention in one process: windows, soft-caps, head sizes, with and without gradients, long
and short batches of several judges. torch's own limit is 8, beyond which it would quietly make all scores."""


def block_mask(batch: PackedBatch, window: int | None) -> BlockMask:
    """Say which tiles of the scores are read wholly, partly, or not at all.

    Tiles are found on the host from the segments' boundaries, exactly, without making a mask of all scores.

    Args:
        batch: Packed sequences.
        window: A token sees this many tokens of its segment, itself included; None for all before it.
    """
    device, num_tokens = batch.input_ids.device, batch.num_tokens
    num_blocks = -(-num_tokens // TILE)
    documents = np.full(num_blocks * TILE, -1, dtype=np.int32)
    documents[:num_tokens] = np.repeat(np.arange(batch.num_segments), batch.lengths)
    first = np.arange(num_blocks) * TILE
    last = first + TILE - 1
    span = num_tokens if window is None else window
    # Segments lie end to end, so the closest pair of two tiles decides whether they meet at all, the farthest whether
    # everything in them does.
    earlier = first[:, None] > last
    touching = earlier & (documents[first][:, None] == documents[last]) & (first[:, None] - last < span)
    touching |= np.eye(num_blocks, dtype=bool)
    whole = earlier & (documents[last][:, None] == documents[first]) & (last[:, None] - first < span)
    tables = [
        torch.from_numpy(t).to(device)[None, None] for t in (*_tile_lists(touching & ~whole), *_tile_lists(whole))
    ]
    document_ids = torch.from_numpy(documents).to(device)

    def sees(batch_index: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        allowed = (query >= key) & (document_ids[query] == document_ids[key])
        return allowed if window is None else allowed & (query - key < window)

    return BlockMask.from_kv_blocks(
        tables[0],
        tables[1],
        tables[2],
        tables[3],
        BLOCK_SIZE=TILE,
        mask_mod=sees,
        seq_lengths=(num_tokens, num_tokens),
    )


def _tile_lists(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of tiles: how many are marked, and their columns, marked ones first."""
    columns = np.argsort(~tiles, axis=1, kind="stable")
    return tiles.sum(axis=1).astype(np.int32), columns.astype(np.int32)


@lru_cache(maxsize=8)
def softcap_mod(softcap: float) -> Callable[..., torch.Tensor]:
    """Bend scores to ``softcap * tanh(score / softcap)``; the same function for the same cap, or layers recompile."""

    def bend(
        score: torch.Tensor, batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return softcap * torch.tanh(score / softcap)

    return bend


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Any]:
    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, MAX_VARIANTS)
    dynamo.fail_on_recompile_limit_hit = True
    return torch.compile(flex_attention, dynamic=True)


def flex_function() -> Callable[..., Any]:
    """Give flex_attention compiled, as otherwise it makes all scores; a compiled layer compiles it along."""
    uncompiled: Any = flex_attention
    return uncompiled if torch.compiler.is_compiling() else _compiled_flex()
