"""Read battles with a judge: every pair in every order exactly once, whatever the number of processes.

Works in one process without a process group, and on all ranks of one. Results are keyed by ``(pair_id, order)``.
Shapes: N pairs, S segments of a micro-batch, C classes.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.distributed as dist

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.batching.planner import plan_scoring
from wsdm_arena.columns import ORDERS
from wsdm_arena.prompts.battles import NUM_FIELDS, BattleTokenizer, TokenizedBattles, assemble_sequence
from wsdm_arena.prompts.pairs import BattleTexts
from wsdm_arena.prompts.store import TokenStore, TokenStoreError
from wsdm_arena.prompts.store_writer import batch_texts
from wsdm_arena.prompts.template import RenderedTemplate

logger = logging.getLogger(__name__)

PackedJudge = Callable[[PackedBatch], torch.Tensor]
"""From a packed batch to logits ``(S, C)`` in displayed order."""


class SequenceSource(Protocol):
    """Where the tokens of pairs lie: a :class:`~wsdm_arena.prompts.store.TokenStore`, or memory."""

    def sequence(self, row: int, order: str) -> npt.NDArray[np.int32]:
        """The whole sequence of a pair, read in order "ab" or "ba"."""
        ...


@dataclass(frozen=True)
class TokenizedPairs:
    """Preference pairs and where their tokens lie.

    Attributes:
        pair_ids: ``(N,)`` strings.
        stores: Token tables, or what holds tokens in memory.
        store_numbers: ``(N,)``, position in ``stores``.
        rows: ``(N,)``, row in that store.
        lengths: ``(N,)`` int32, tokens of the sequence; the same in both orders.
        truncated: ``(N,)`` bool.
    """

    pair_ids: npt.NDArray[Any]
    stores: tuple[SequenceSource, ...]
    store_numbers: npt.NDArray[np.integer]
    rows: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]

    @classmethod
    def look_up(
        cls, pair_ids: Sequence[str], tables: Sequence[str], stores: Mapping[str, TokenStore]
    ) -> "TokenizedPairs":
        """Find each pair in the token table that it is said to be in.

        Args:
            pair_ids: N keys; a pair that was voted on twice may stand here twice.
            tables: N names of token tables.
            stores: Token tables by name.

        Raises:
            ValueError: There is no token table of that name, or it lacks a pair.
        """
        keys, names = np.asarray(pair_ids, dtype=object), np.asarray(tables, dtype=object)
        numbers = np.zeros(len(keys), dtype=np.int16)
        rows = np.zeros(len(keys), dtype=np.int64)
        lengths = np.zeros(len(keys), dtype=np.int32)
        truncated = np.zeros(len(keys), dtype=bool)
        for name in sorted(set(names)):
            if name not in stores:
                raise ValueError(f"no tokens for table {name!r}; there are tokens for {sorted(stores)}")
            store, here = stores[name], names == name
            numbers[here] = list(stores).index(name)
            rows[here] = _rows(store, keys[here], name)
            lengths[here] = store.lengths[rows[here]]
            truncated[here] = store.truncated[rows[here]]
        return cls(keys, tuple(stores.values()), numbers, rows, lengths, truncated)

    @classmethod
    def from_texts(cls, pair_ids: Sequence[str], battles: Iterable[BattleTexts], tokenizer: BattleTokenizer) -> Self:
        """Tokenize pairs and keep their tokens in memory.

        Tokens are those that a token store of the same tokenizer, template and truncation holds.

        Args:
            pair_ids: N keys.
            battles: Prompt, response A and response B of each; a null text is None.
            tokenizer: Of the judge that is to read them.
        """
        parts = [TokensInMemory(tokenizer.tokenize(batch), tokenizer.template) for batch in batch_texts(battles)]
        sizes = [len(part.battles) for part in parts]
        return cls(
            pair_ids=np.asarray(pair_ids, dtype=object),
            stores=tuple(parts),
            store_numbers=np.repeat(np.arange(len(parts), dtype=np.int32), sizes),
            rows=np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, dtype=np.int64)]),
            lengths=np.concatenate([part.lengths for part in parts] or [np.empty(0, dtype=np.int32)]),
            truncated=np.concatenate([part.truncated for part in parts] or [np.empty(0, dtype=bool)]),
        )

    def __len__(self) -> int:
        return len(self.pair_ids)

    def take(self, positions: npt.NDArray[Any]) -> "TokenizedPairs":
        """Some of the pairs, in the given order."""
        per_pair = {
            field.name: getattr(self, field.name)[positions] for field in fields(self) if field.name != "stores"
        }
        return TokenizedPairs(stores=self.stores, **per_pair)

    def sequence(self, number: int) -> npt.NDArray[np.int32]:
        """Tokens of pair ``number // 2`` in order "ab" (even numbers) or "ba" (odd numbers)."""
        position, order = divmod(int(number), 2)
        return self.stores[self.store_numbers[position]].sequence(int(self.rows[position]), ORDERS[order])


@dataclass(frozen=True)
class TokensInMemory:
    """Tokens of some pairs, and the template that makes sequences of them."""

    battles: TokenizedBattles
    template: RenderedTemplate

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each whole sequence, ``(N,)``."""
        fields = self.battles.offsets[NUM_FIELDS::NUM_FIELDS] - self.battles.offsets[:-NUM_FIELDS:NUM_FIELDS]
        return (fields + self.template.num_constant_tokens).astype(np.int32)

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """Whether anything of a pair's texts was cut out, ``(N,)``."""
        return np.any(self.battles.kept_tokens < self.battles.original_tokens, axis=1)

    def sequence(self, row: int, order: str) -> npt.NDArray[np.int32]:
        """The whole sequence of a pair, ``(lengths[row],)``."""
        return assemble_sequence(self.template, *self.battles.fields(row), order)


def score_pairs(
    judge: PackedJudge,
    pairs: TokenizedPairs,
    *,
    max_tokens: int,
    device: torch.device | str,
    orders: Sequence[str] = ORDERS,
    rank: int = 0,
    world_size: int = 1,
    on_batch: Callable[[int], None] | None = None,
) -> pd.DataFrame | None:
    """Read every pair in each order once.

    All ranks call the judge equally often, so that its weights may be sharded; a rank without work reads a
    placeholder. The judge is used as it is: switch it to evaluation mode before.

    Args:
        judge: Called without gradients.
        pairs: What to read; each ``pair_id`` once.
        max_tokens: Budget of a micro-batch; a longer sequence is read alone.
        device: Where the judge's inputs go.
        orders: "ab", "ba" or both.
        rank: Of this process.
        world_size: Number of processes that share the work.
        on_batch: Told the number of tokens after each micro-batch of this rank.

    Returns:
        On rank 0 one row a pair and order, sorted like ``pairs`` and ``orders``: ``pair_id``, ``order``, ``logits``
        (list of C, in displayed order), ``probabilities`` (list of C, in canonical order a, b[, tie]), ``truncated``.
        None on the other ranks.

    Raises:
        ValueError: A pair stands in ``pairs`` more than once, or an order is unknown.
    """
    _check_request(pairs, orders)
    numbers = np.array(
        [2 * pair + ORDERS.index(order) for pair in range(len(pairs)) for order in orders], dtype=np.int64
    )
    plan = plan_scoring(pairs.lengths[numbers // 2], world_size=world_size, max_tokens=max_tokens)
    positions, logits = [], []
    with torch.no_grad():
        for members in plan[rank]:
            batch = _pack(pairs, numbers[members]).to(device, non_blocking=True)
            output = judge(batch).float()
            if len(members):
                positions.append(members)
                logits.append(output)
            if on_batch is not None:
                on_batch(batch.num_tokens if len(members) else 0)
    mine = _concatenate(positions, logits)
    shares = _gather(mine, rank, world_size)
    return None if shares is None else _as_table(pairs, numbers, shares)


def _rows(store: TokenStore, pair_ids: npt.NDArray[Any], table: str) -> npt.NDArray[np.int64]:
    try:
        return store.rows(pair_ids)
    except TokenStoreError as error:
        raise ValueError(f"token table {table!r}: {error}") from error


def _check_request(pairs: TokenizedPairs, orders: Sequence[str]) -> None:
    unknown = set(orders) - set(ORDERS)
    if unknown or not orders:
        raise ValueError(f"orders={list(orders)}: must be some of {list(ORDERS)}")
    unique, counts = np.unique(pairs.pair_ids.astype(str), return_counts=True)
    if len(unique) < len(pairs):
        raise ValueError(f"pairs to score stand more than once: {unique[counts > 1][:5].tolist()}; drop the repeats")


def _pack(pairs: TokenizedPairs, numbers: npt.NDArray[np.int64]) -> PackedBatch:
    if not len(numbers):
        return PackedBatch.placeholder()
    return PackedBatch.from_sequences([pairs.sequence(number) for number in numbers])


def _concatenate(positions: list[npt.NDArray[np.int64]], logits: list[torch.Tensor]) -> tuple[Any, Any]:
    if not positions:
        return np.empty(0, dtype=np.int64), None
    return np.concatenate(positions), torch.cat(logits).cpu().numpy()


def _gather(share: tuple[Any, Any], rank: int, world_size: int) -> list[tuple[Any, Any]] | None:
    if world_size == 1:
        return [share]
    shares: list[Any] | None = [None] * world_size if rank == 0 else None
    dist.gather_object(share, shares, dst=0)
    return shares


def _as_table(pairs: TokenizedPairs, numbers: npt.NDArray[np.int64], shares: list[tuple[Any, Any]]) -> pd.DataFrame:
    filled = [share for share in shares if len(share[0])]
    positions = np.concatenate([share[0] for share in filled]) if filled else np.empty(0, dtype=np.int64)
    if not np.array_equal(np.sort(positions), np.arange(len(numbers))):
        raise AssertionError("the plan did not give every sequence to exactly one rank")
    num_classes = filled[0][1].shape[1] if filled else 2
    logits = np.empty((len(numbers), num_classes), dtype=np.float32)
    if filled:
        logits[positions] = np.concatenate([share[1] for share in filled])
    is_swapped = numbers % 2 == 1
    return pd.DataFrame(
        {
            "pair_id": pairs.pair_ids[numbers // 2],
            "order": np.array(ORDERS, dtype=object)[numbers % 2],
            "logits": list(logits),
            "probabilities": list(canonical_probabilities(logits, is_swapped)),
            "truncated": pairs.truncated[numbers // 2],
        }
    )


def canonical_probabilities(
    logits: npt.NDArray[np.float32], is_swapped: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Softmax, with the first two classes exchanged where B was displayed first.

    Args:
        logits: ``(N, C)`` in displayed order.
        is_swapped: ``(N,)``, True where the pair was read in order "ba".

    Returns:
        ``(N, C)`` in canonical order a, b[, tie]; rows sum to 1.
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    probabilities[is_swapped, :2] = probabilities[is_swapped, 1::-1]
    return probabilities.astype(np.float32)
