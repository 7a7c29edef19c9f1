"""Decide which sequences are read in which update, micro-step and rank.

Battles are shuffled with a seed and cut into global batches of ``battles_per_update``; this does not depend on the
number of ranks. Each battle is read in both orders, in the same global batch. A global batch is then dealt to
micro-steps x ranks micro-batches under a token budget: as few micro-steps as possible, and in each of them ranks
that are equally busy. Nothing is dropped and nothing is read twice.

Numbers: sequence ``2 * battle`` is the battle read in the order "ab", ``2 * battle + 1`` in the order "ba"; both have
the same number of tokens.
"""

import hashlib
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class PlanningError(ValueError):
    """The lengths, the budget or a saved position do not fit together."""


@dataclass(frozen=True)
class UpdatePlan:
    """One global batch, dealt to micro-steps and ranks.

    Attributes:
        battles: Battle indices of this global batch, shape ``(B,)``, in shuffled order.
        micro_steps: ``micro_steps[step][rank]`` holds the sequence numbers of one micro-batch, sorted by length
            (longest first); empty for some ranks where there are fewer sequences than ranks.
        update: Position in the whole run, from 0.
        phase: Which list of battles this batch was drawn from.
        epoch: Which pass over that list.
    """

    battles: IntArray
    micro_steps: tuple[tuple[IntArray, ...], ...]
    update: int = 0
    phase: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class PlannerStats:
    """What a whole run will read.

    Attributes:
        num_updates: Global batches.
        num_sequences: Sequences read, both orders of every battle of every epoch.
        num_tokens: Tokens of these sequences.
        num_oversized: Sequences longer than the token budget, each of which gets a micro-batch of its own.
        longest: Tokens of the longest sequence.
    """

    num_updates: int
    num_sequences: int
    num_tokens: int
    num_oversized: int
    longest: int


def draw_epoch(num_battles: int, *, battles_per_update: int, seed: int, epoch: int, phase: int) -> list[IntArray]:
    """Shuffle the battles of one epoch and cut them into global batches.

    Args:
        num_battles: Battles of this phase.
        battles_per_update: Size of a global batch; the last one may be smaller and is kept.
        seed: Seed of the run.
        epoch: Number of the pass; every epoch has an order of its own.
        phase: Number of the phase; every phase has an order of its own.

    Returns:
        Positions ``0 .. num_battles - 1``, each in exactly one array. The same for any number of ranks.
    """
    _require_positive("battles_per_update", battles_per_update)
    order = np.random.default_rng([seed, phase, epoch]).permutation(num_battles).astype(np.int64, copy=False)
    return [order[start : start + battles_per_update] for start in range(0, num_battles, battles_per_update)]


def plan_update(
    battles: IntArray, sequence_lengths: npt.NDArray[Any], *, world_size: int, max_tokens_per_micro_batch: int
) -> UpdatePlan:
    """Deal both orders of the battles of one global batch to micro-steps and ranks.

    Args:
        battles: Battle indices, shape ``(B,)``.
        sequence_lengths: Tokens of a sequence of each battle, shape ``(num_battles,)``, indexed by battle; both orders
            have the same length.
        world_size: Number of ranks.
        max_tokens_per_micro_batch: Budget of one micro-batch on one rank. A longer sequence gets a micro-batch alone.

    Returns:
        The plan; every rank has the same number of micro-steps.

    Raises:
        PlanningError: A length or the budget is not positive.
    """
    battles = np.asarray(battles, dtype=np.int64)
    sequences = np.concatenate([2 * battles, 2 * battles + 1])
    lengths = np.tile(np.asarray(sequence_lengths)[battles], 2)
    return UpdatePlan(battles, _deal(sequences, lengths, world_size, max_tokens_per_micro_batch))


def plan_scoring(lengths: npt.NDArray[Any], *, world_size: int, max_tokens: int) -> tuple[tuple[IntArray, ...], ...]:
    """Deal sequences to ranks for reading them once, neighbours in length together.

    Args:
        lengths: Tokens of each sequence, shape ``(N,)``.
        world_size: Number of ranks.
        max_tokens: Budget of one micro-batch; a longer sequence gets one alone.

    Returns:
        ``plan[rank]`` is that rank's micro-batches of positions into ``lengths``. Every position stands in exactly one
        of them, whatever the number of ranks. All ranks have the same number of micro-batches, the last ones of
        which may be empty, so that collective operations of sharded weights meet.
    """
    lengths = _checked_lengths(lengths, world_size, max_tokens)
    order = np.argsort(-lengths, kind="stable")
    budget = _even_budget(lengths, world_size, max_tokens)
    micro_batches = _fill_in_order(order, lengths, budget)
    while len(micro_batches) % world_size:
        micro_batches.append(np.empty(0, dtype=np.int64))
    return tuple(tuple(micro_batches[rank::world_size]) for rank in range(world_size))


class Planner:
    """All updates of a run: phases one after the other, each for all its epochs.

    Iterating goes on from the saved position. Two planners with the same arguments give the same updates, and the
    global batches do not depend on ``world_size``.

    Args:
        phases: For each phase the battle indices it trains on.
        sequence_lengths: Tokens of a sequence of each battle, shape ``(num_battles,)``, indexed by battle.
        battles_per_update: Global batch.
        epochs: Passes over each phase.
        seed: Seed of the run.
        world_size: Number of ranks.
        max_tokens_per_micro_batch: Budget of one micro-batch on one rank.

    Raises:
        PlanningError: There is nothing to train on, or a number is out of range.

    Example:
        >>> planner = Planner([np.arange(5)], np.full(5, 10), battles_per_update=2, epochs=1, seed=0, world_size=1,
        ...                   max_tokens_per_micro_batch=100)
        >>> [plan.battles.size for plan in planner]
        [2, 2, 1]
    """

    def __init__(
        self,
        phases: Sequence[npt.NDArray[Any]],
        sequence_lengths: npt.NDArray[Any],
        *,
        battles_per_update: int,
        epochs: int,
        seed: int,
        world_size: int,
        max_tokens_per_micro_batch: int,
    ) -> None:
        _require_positive("battles_per_update", battles_per_update)
        _require_positive("epochs", epochs)
        self.sequence_lengths = _checked_lengths(sequence_lengths, world_size, max_tokens_per_micro_batch)
        self.phases = [np.asarray(phase, dtype=np.int64) for phase in phases]
        self.battles_per_update = battles_per_update
        self.epochs = epochs
        self.seed = seed
        self.world_size = world_size
        self.max_tokens_per_micro_batch = max_tokens_per_micro_batch
        self.next_update = 0
        self._check_phases()

    def __len__(self) -> int:
        """Updates of the whole run, those already done included."""
        return sum(self.epochs * math.ceil(phase.size / self.battles_per_update) for phase in self.phases)

    def __iter__(self) -> Iterator[UpdatePlan]:
        """Yield the updates that are still to be done.

        The position moves on as a plan is handed out, so save it only when that update is finished.
        """
        first = 0
        for phase, battles in enumerate(self.phases):
            per_epoch = math.ceil(battles.size / self.battles_per_update)
            for epoch in range(self.epochs):
                if self.next_update < first + per_epoch:
                    yield from self._iterate_epoch(phase, epoch, first)
                first += per_epoch

    def stats(self) -> PlannerStats:
        """Count what the whole run will read."""
        lengths = np.concatenate([self.sequence_lengths[phase] for phase in self.phases])
        readings = 2 * self.epochs
        return PlannerStats(
            num_updates=len(self),
            num_sequences=readings * lengths.size,
            num_tokens=readings * int(lengths.sum()),
            num_oversized=readings * int((lengths > self.max_tokens_per_micro_batch).sum()),
            longest=int(lengths.max()),
        )

    def state_dict(self) -> dict[str, Any]:
        """Position and identity of this plan, as JSON; valid for any number of ranks."""
        return {"next_update": self.next_update, "identity": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved plan stopped.

        Raises:
            PlanningError: The state belongs to other battles, another seed or another global batch.
        """
        if state["identity"] != self._identity():
            raise PlanningError(
                "the saved position belongs to another plan (battles, lengths, seed, epochs or battles_per_update "
                "differ); start a new run instead of resuming this one"
            )
        if not 0 <= state["next_update"] <= len(self):
            raise PlanningError(f"next_update={state['next_update']} is outside of 0 to {len(self)}")
        self.next_update = int(state["next_update"])

    def _iterate_epoch(self, phase: int, epoch: int, first: int) -> Iterator[UpdatePlan]:
        battles = self.phases[phase]
        batches = draw_epoch(
            battles.size, battles_per_update=self.battles_per_update, seed=self.seed, epoch=epoch, phase=phase
        )
        for number in range(self.next_update - first, len(batches)):
            plan = plan_update(
                battles[batches[number]],
                self.sequence_lengths,
                world_size=self.world_size,
                max_tokens_per_micro_batch=self.max_tokens_per_micro_batch,
            )
            self.next_update = first + number + 1
            yield UpdatePlan(plan.battles, plan.micro_steps, update=first + number, phase=phase, epoch=epoch)

    def _check_phases(self) -> None:
        if not any(phase.size for phase in self.phases):
            raise PlanningError("there is no battle to train on: every phase is empty")
        for number, phase in enumerate(self.phases):
            if phase.size and not (phase.min() >= 0 and phase.max() < self.sequence_lengths.size):
                raise PlanningError(
                    f"phase {number} names battles {phase.min()} to {phase.max()}, "
                    f"but there are lengths for 0 to {self.sequence_lengths.size - 1}"
                )

    def _identity(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.battles_per_update, self.epochs, self.seed, len(self.phases))).encode())
        for phase in self.phases:
            digest.update(f"phase of {phase.size}".encode())
            digest.update(np.ascontiguousarray(phase, dtype="<i8").tobytes())
            digest.update(np.ascontiguousarray(self.sequence_lengths[phase], dtype="<i8").tobytes())
        return digest.hexdigest()


def _deal(
    sequences: IntArray, lengths: npt.NDArray[Any], world_size: int, budget: int
) -> tuple[tuple[IntArray, ...], ...]:
    """Put sequences into micro-steps x ranks bins and hand similar bins to the ranks of one micro-step."""
    lengths = _checked_lengths(lengths, world_size, budget)
    order = np.lexsort((sequences, -lengths))  # longest first; ties by number, not by the caller's order
    sizes = lengths[order].tolist()
    num_steps = _fewest_steps(sizes, world_size, budget)
    while (bins := _fill_bins(sizes, num_steps * world_size, budget)) is None:
        num_steps += 1
    loads = np.bincount(bins, weights=sizes, minlength=num_steps * world_size)
    by_bin = np.argsort(np.asarray(bins), kind="stable")  # keeps longest first within a bin
    ends = np.cumsum(np.bincount(bins, minlength=num_steps * world_size))
    members = np.split(sequences[order][by_bin], ends[:-1])
    by_load = np.argsort(-loads, kind="stable").reshape(num_steps, world_size)
    by_load[1::2] = by_load[1::2, ::-1]  # no rank is always the busiest of its step
    return tuple(tuple(members[position] for position in step) for step in by_load.tolist())


def _fewest_steps(sizes: list[int], world_size: int, budget: int) -> int:
    """Lower bound of the micro-steps that sequences of these sizes need."""
    fitting = [size for size in sizes if size <= budget]
    num_bins = len(sizes) - len(fitting) + math.ceil(sum(fitting) / budget)
    return math.ceil(num_bins / world_size)


def _fill_bins(sizes: list[int], num_bins: int, budget: int) -> list[int] | None:
    """Assign sizes (longest first) to bins: balanced if that fits, else tightly, else None."""
    num_oversized = sum(size > budget for size in sizes)
    if num_oversized > num_bins or (num_oversized == num_bins and num_oversized < len(sizes)):
        return None
    alone = list(range(num_oversized))
    rest = sizes[num_oversized:]
    assigned = _fill_emptiest(rest, num_bins - num_oversized, budget)
    if assigned is None:
        assigned = _fill_fullest(rest, num_bins - num_oversized, budget)
    return None if assigned is None else alone + [num_oversized + position for position in assigned]


def _fill_emptiest(sizes: list[int], num_bins: int, budget: int) -> list[int] | None:
    """Longest processing time first: each size goes to the emptiest bin.

    Source: Graham 1969, "Bounds on multiprocessing timing anomalies".
    """
    heap = list(range(num_bins))  # load * num_bins + position: compares as (load, position)
    assigned = []
    limit = (budget + 1) * num_bins
    for size in sizes:
        entry = heap[0] + size * num_bins
        if entry >= limit:
            return None
        assigned.append(heap[0] % num_bins)
        heapq.heapreplace(heap, entry)
    return assigned


def _fill_fullest(sizes: list[int], num_bins: int, budget: int) -> list[int] | None:
    """Best fit decreasing: each size goes to the fullest bin that still has room."""
    room = [budget] * num_bins
    assigned = []
    for size in sizes:
        candidates = [(left, position) for position, left in enumerate(room) if left >= size]
        if not candidates:
            return None
        left, position = min(candidates)
        room[position] = left - size
        assigned.append(position)
    return assigned


def _even_budget(lengths: IntArray, world_size: int, max_tokens: int) -> int:
    """Shrink the budget so that the last round of micro-batches is about as full as the others."""
    total = int(lengths.sum())
    rounds = max(1, math.ceil(total / (world_size * max_tokens)))
    mean = total / (world_size * rounds)
    slack = float(lengths.mean()) if lengths.size else 0.0  # a micro-batch ends with a whole sequence
    return min(max_tokens, math.ceil(mean + slack))


def _fill_in_order(order: IntArray, lengths: IntArray, budget: int) -> list[IntArray]:
    micro_batches: list[IntArray] = []
    ends = np.concatenate([[0], np.cumsum(lengths[order])])
    start = 0
    while start < order.size:
        end = int(np.searchsorted(ends, ends[start] + budget, side="right")) - 1
        end = max(end, start + 1)
        micro_batches.append(order[start:end])
        start = end
    return micro_batches


def _checked_lengths(lengths: npt.NDArray[Any], world_size: int, budget: int) -> IntArray:
    _require_positive("world_size", world_size)
    _require_positive("the token budget of a micro-batch", budget)
    checked = np.asarray(lengths, dtype=np.int64)
    if checked.ndim != 1:
        raise PlanningError(f"lengths must have shape (N,), got {checked.shape}")
    if checked.size and checked.min() < 1:
        raise PlanningError(
            f"sequence {int(checked.argmin())} has {int(checked.min())} tokens; each must have at least 1"
        )
    return checked


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise PlanningError(f"{name} is {value}, must be at least 1")
