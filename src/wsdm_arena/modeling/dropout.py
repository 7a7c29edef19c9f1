"""Dropout masks that do not depend on how a global batch is split.

A mask is a function of the seed, the update, the pair and the order in which it is read, so any number of ranks and any
token budget trains the same judge.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch


def draw_keep_masks(
    readings: Sequence[tuple[str, str]], widths: Sequence[int], *, rate: float, seed: int, update: int
) -> tuple[torch.Tensor, ...]:
    """Draw which hidden units are kept for each segment.

    Args:
        readings: ``(pair_id, order)`` of each segment, in the batch's order; S of them.
        widths: Units of each dropout layer, as in ``Head.dropout_widths``.
        rate: Probability that a unit is dropped.
        seed: Of the run.
        update: Number of the update.

    Returns:
        For each width a bool tensor ``(S, width)``, True where a unit is kept.

    Example:
        >>> first, = draw_keep_masks([("a", "ab"), ("b", "ab")], [4], rate=0.5, seed=0, update=7)
        >>> again, = draw_keep_masks([("b", "ab")], [4], rate=0.5, seed=0, update=7)
        >>> bool((first[1] == again[0]).all())
        True
    """
    uniform = np.empty((len(readings), sum(widths)), dtype=np.float32)
    bits = np.random.Philox(key=0)
    state = bits.state
    generator = np.random.Generator(bits)
    for row, (pair_id, order) in enumerate(readings):
        name = f"{seed}/{update}/{order}/{pair_id}".encode("utf-8", "surrogatepass")
        state["state"]["key"] = np.frombuffer(hashlib.blake2b(name, digest_size=16).digest(), dtype="<u8")
        bits.state = state  # rewinds the counter, too; eight times faster than a generator for each segment
        generator.random(dtype=np.float32, out=uniform[row])
    kept = torch.from_numpy(uniform >= np.float32(rate))
    return tuple(part.contiguous() for part in kept.split(list(widths), dim=1))
