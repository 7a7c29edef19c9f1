"""Seeded draws: independent streams, and fast picks from small collections."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Generic, Literal, TypeVar, get_args

import numpy as np

Universe = Literal["runs", "backbones"]
Stream = Literal[
    "models",
    "train",
    "test",
    "ugly_train",
    "ugly_test",
    "collected",
    "ugly_collected",
    "conversations",
    "ugly_conversations",
]

T = TypeVar("T")

_UNIVERSES: tuple[Universe, ...] = ("runs", "backbones")
_STREAMS: tuple[Stream, ...] = get_args(Stream)  # new ones go to the end, or all earlier draws change


def open_stream(universe: Universe, seed: int, stream: Stream) -> np.random.Generator:
    """Return the generator of one stream of draws.

    Streams are independent: the size of one table never changes another, and no seed of one universe yields the draws
    of the other.
    """
    spawn_key = (_UNIVERSES.index(universe), _STREAMS.index(stream))
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=spawn_key))


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Draw one item, all equally likely."""
    return items[int(rng.integers(len(items)))]


def pick_indices(rng: np.random.Generator, size: int, count: int) -> tuple[int, ...]:
    """Draw ``count`` distinct indices below ``size``, in random order."""
    return tuple(int(index) for index in rng.permutation(size)[:count])


class Weighted(Generic[T]):
    """Items with weights (of any positive sum), drawn in proportion to them."""

    def __init__(self, weights: Mapping[T, float]) -> None:
        self._items = tuple(weights)
        self._bounds = tuple(accumulate(weights.values()))

    def pick(self, rng: np.random.Generator) -> T:
        """Draw one item."""
        position = bisect_right(self._bounds, rng.random() * self._bounds[-1])
        return self._items[min(position, len(self._items) - 1)]
