"""Sequences laid end to end in one row, without padding.

Shapes: T tokens of the micro-batch, S segments (one per sequence).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class PackedBatch:
    """One micro-batch. Boundaries are kept on the host too, so that no layer waits for the device.

    Attributes:
        input_ids: Token ids, shape ``(T,)``, int64.
        position_ids: Position of each token in its own segment, shape ``(T,)``, int64, restarting at 0.
        cu_seqlens: Where segments begin, and T, shape ``(S + 1,)``, int32.
        boundaries: The same numbers as ``cu_seqlens``, on the host.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    boundaries: tuple[int, ...]

    @classmethod
    def from_sequences(cls, sequences: Sequence[npt.NDArray[Any]]) -> "PackedBatch":
        """Pack token id arrays, in the given order.

        Raises:
            ValueError: There is no sequence, or one is empty.
        """
        lengths = [len(sequence) for sequence in sequences]
        if not lengths or 0 in lengths:
            raise ValueError(
                f"cannot pack {len(lengths)} sequences of which {lengths.count(0)} are empty; each needs a token"
            )
        boundaries = np.concatenate([[0], np.cumsum(lengths)])
        input_ids = np.concatenate(sequences).astype(np.int64, copy=False)
        position_ids = np.arange(boundaries[-1]) - np.repeat(boundaries[:-1], lengths)
        return cls(
            input_ids=torch.from_numpy(input_ids),
            position_ids=torch.from_numpy(position_ids),
            cu_seqlens=torch.from_numpy(boundaries.astype(np.int32)),
            boundaries=tuple(boundaries.tolist()),
        )

    @classmethod
    def placeholder(cls) -> "PackedBatch":
        """Make a batch of one token, for a rank that has no sequence but must join the others' collectives."""
        return cls.from_sequences([np.zeros(1, dtype=np.int64)])

    @property
    def num_segments(self) -> int:
        """Sequences in this batch."""
        return len(self.boundaries) - 1

    @property
    def num_tokens(self) -> int:
        """Tokens in this batch."""
        return self.boundaries[-1]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each segment."""
        return tuple(end - start for start, end in pairwise(self.boundaries))

    @property
    def max_seqlen(self) -> int:
        """Tokens of the longest segment."""
        return max(self.lengths)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "PackedBatch":
        """Copy the tensors to a device; with ``non_blocking`` from pinned memory, where the target is a GPU."""
        pin = non_blocking and torch.device(device).type == "cuda"

        def move(tensor: torch.Tensor) -> torch.Tensor:
            source = tensor.pin_memory() if pin and tensor.device.type == "cpu" else tensor
            return source.to(device, non_blocking=non_blocking)

        return PackedBatch(move(self.input_ids), move(self.position_ids), move(self.cu_seqlens), self.boundaries)
