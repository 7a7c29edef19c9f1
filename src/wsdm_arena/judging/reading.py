"""A judge that is in memory only while it reads, and stops when the time is over."""

import gc
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.batching.planner import IntArray, plan_scoring
from wsdm_arena.columns import ORDERS
from wsdm_arena.errors import UserError
from wsdm_arena.modeling.devices import choose_devices
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.modeling.layer_split import SplitJudge
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.scoring.cascade import CascadeError, FloatArray, differences
from wsdm_arena.scoring.predictor import TokenizedPairs, canonical_probabilities

MAX_UNREADABLE_SHARE = 0.01
"""Of the pairs that a judge reads. With more of them without finite logits the judge is broken, not some pairs odd, and
verdicts would rest on the lengths of answers."""


class LogitsCheck:
    """Of all that one judge is to read, counts what got no finite logits, and refuses the judge when that is too much.

    Args:
        name: Of the judge.
        num_to_read: Pairs, or rows, that it is to read in all.
        error: What is raised: more than :data:`MAX_UNREADABLE_SHARE` of them got no finite logits.
    """

    def __init__(self, name: str, num_to_read: int, error: type[UserError] = CascadeError) -> None:
        self._name, self._num_to_read, self._error = name, num_to_read, error
        self._num_read = self._num_unreadable = 0

    def count(self, num_read: int, num_unreadable: int) -> None:
        """Add what was read, and refuse the judge as soon as nothing that is left to read could change that.

        Args:
            num_read: Given to the judge since the last call.
            num_unreadable: Without finite logits among these.
        """
        self._num_read += num_read
        self._num_unreadable += num_unreadable
        self._require_few_of(self._num_to_read)

    def finish(self) -> None:
        """The same of what was read after all: the clock may have left some unread."""
        self._require_few_of(self._num_read)

    def _require_few_of(self, number: int) -> None:
        if self._num_unreadable > MAX_UNREADABLE_SHARE * number:
            raise self._error(
                f"{self._name}: no finite logits for {self._num_unreadable} of the {self._num_read} pairs read so far; "
                "float16 overflows with some judges: set dtype to bfloat16 or float32 (--dtype; of a submission "
                "submission.dtype). If it is one of them already, the judge's training diverged"
            )


class BatchReader(Protocol):
    """A judge in memory, such as a :class:`~wsdm_arena.modeling.layer_split.SplitJudge`."""

    def read(self, batches: Iterable[PackedBatch]) -> Generator[torch.Tensor, None, None]:
        """Give the logits ``(S, C)`` of each micro-batch, in order; a micro-batch is drawn when it can be begun."""
        ...


@dataclass(frozen=True)
class CascadeJudge:
    """A judge that is loaded when its turn comes, and the tokens it reads.

    Attributes:
        name: Unlike the other's, and neither "both" nor "fallback".
        tokens: Of every pair of the test table at least, by ``pair_id``.
        open: Gives a context manager that loads the judge on entry and frees its memory on exit.
    """

    name: str
    tokens: TokenizedPairs
    open: Callable[[], AbstractContextManager[BatchReader]]

    @classmethod
    def from_store(
        cls, name: str, load: Callable[[], JudgeModel], store: TokenStore | Path, *, devices: Sequence[str] = ("auto",)
    ) -> "CascadeJudge":
        """Read from a token store, on one device or split over several.

        Args:
            name: Of the judge.
            load: Loads it into host memory; see :func:`~wsdm_arena.modeling.devices.choose_dtype` for its type.
            store: Tokens of the test table for this judge.
            devices: As :class:`~wsdm_arena.config.cascade.SubmissionConfig` describes them.

        Raises:
            DeviceError: This machine lacks a device.
            TokenStoreError: There is no complete store.
        """
        chosen = choose_devices(devices)
        opened = store if isinstance(store, TokenStore) else TokenStore.open(store)
        pair_ids = opened.pair_ids.tolist()
        tokens = TokenizedPairs.look_up(pair_ids, [name] * len(pair_ids), {name: opened})
        return cls(name, tokens, lambda: open_judge(load, chosen))


@contextmanager
def open_judge(load: Callable[[], JudgeModel], devices: Sequence[torch.device | str]) -> Iterator[SplitJudge]:
    """Load a judge, place it, and free its memory at the end.

    Args:
        load: Loads it; called on entry.
        devices: One a stage, see :class:`~wsdm_arena.modeling.layer_split.SplitJudge`.
    """
    judge = SplitJudge(load(), devices)
    try:
        yield judge
    finally:
        judge.release()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class JudgeWork:
    """What one judge did; zeros if it was not loaded."""

    name: str
    seconds_loading: float = 0.0
    seconds_reading: float = 0.0
    num_pairs: int = 0
    num_tokens: int = 0
    num_micro_batches: int = 0


class Budget:
    """Seconds since the start, and how many are left.

    Args:
        clock: In seconds, from any start.
        seconds: All there are; None for no limit.
        start: What the clock showed when the time began to run; None: now.
    """

    def __init__(self, clock: Callable[[], float], seconds: float | None, start: float | None = None) -> None:
        self._clock, self._seconds = clock, float("inf") if seconds is None else seconds
        self._start = clock() if start is None else start

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._seconds != float("inf")

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def remaining(self) -> float:
        """Seconds left; infinite without a limit."""
        return self._seconds - self.elapsed()


@dataclass(frozen=True)
class Reading:
    """What one judge says of N pairs.

    Attributes:
        probabilities: ``(N, 2)`` of A and B; NaN where it did not read, or got no finite logits.
        was_begun: ``(N,)``, whether the pair was given to the judge.
        work: How much that was.
    """

    probabilities: FloatArray
    was_begun: npt.NDArray[np.bool_]
    work: JudgeWork

    @classmethod
    def none(cls, num_pairs: int, name: str) -> "Reading":
        """Of a judge that has read nothing yet."""
        return cls(np.full((num_pairs, 2), np.nan), np.zeros(num_pairs, dtype=bool), JudgeWork(name))

    @property
    def differences(self) -> FloatArray:
        """``p_a - p_b``, ``(N,)``; NaN where it did not read."""
        return differences(self.probabilities)

    @property
    def was_read(self) -> npt.NDArray[np.bool_]:
        """``(N,)``, whether there is a reading."""
        return ~np.isnan(self.probabilities[:, 0])

    def take(self, positions: npt.NDArray[Any]) -> "Reading":
        """Some of the pairs, in the given order and as often as they stand there."""
        return Reading(self.probabilities[positions], self.was_begun[positions], self.work)


def read_in_time(
    judge: CascadeJudge,
    tokens: TokenizedPairs,
    order: str,
    plan: Sequence[IntArray],
    budget: Budget,
    on_batch: Callable[[str, int], None] | None,
    *,
    least_seconds: float = 0.0,
    is_all: bool = True,
) -> Reading:
    """Load a judge and let it read micro-batches until the clock stops it; not loaded if there is nothing to read.

    Args:
        judge: Loaded if more than ``least_seconds`` are left, and freed in any case.
        tokens: Of all N pairs.
        order: In which it reads them.
        plan: Micro-batches, as positions in ``tokens``.
        budget: Looked at before each micro-batch.
        on_batch: Told what was read.
        least_seconds: With less left the judge would hardly be loaded before the time is over.
        is_all: Whether the plan is all that this judge reads. If not, the caller counts readings without finite logits.

    Raises:
        CascadeError: The plan is all, and more than :data:`MAX_UNREADABLE_SHARE` of the pairs got no finite logits.
            Raised as soon as nothing that is left to read could change that.
    """
    reading = Reading.none(len(tokens), judge.name)
    if not len(plan) or budget.remaining() <= least_seconds:
        return reading
    offset = ORDERS.index(order)

    def batches() -> Iterator[PackedBatch]:
        for members in plan:
            if budget.remaining() <= 0:
                return
            yield PackedBatch.from_sequences([tokens.sequence(2 * member + offset) for member in members])

    start = budget.elapsed()
    num_batches = 0
    check = LogitsCheck(judge.name, sum(len(members) for members in plan))
    with judge.open() as reader, closing(reader.read(batches())) as outputs:
        loaded = budget.elapsed()
        for members, logits in zip(plan, outputs, strict=False):
            reading.was_begun[members] = True
            reading.probabilities[members] = _probabilities(logits, order)
            num_batches += 1
            if is_all:
                check.count(len(members), int((~reading.was_read[members]).sum()))
            if on_batch is not None:
                on_batch(judge.name, int(tokens.lengths[members].sum()))
        end = budget.elapsed()
    check.finish()
    num_tokens = int(tokens.lengths[reading.was_begun].sum())
    work = JudgeWork(judge.name, loaded - start, end - loaded, int(reading.was_begun.sum()), num_tokens, num_batches)
    return Reading(reading.probabilities, reading.was_begun, work)


def read_orders(
    reader: BatchReader,
    tokens: TokenizedPairs,
    orders: Sequence[str],
    budget: Budget,
    *,
    num_classes: int,
    max_tokens_per_batch: int,
    on_batch: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Let a judge in memory read every pair in every order, longest first, until the time is over.

    Args:
        reader: The judge.
        tokens: Of N pairs.
        orders: O of "ab" and "ba".
        budget: Looked at before each micro-batch.
        num_classes: C.
        max_tokens_per_batch: Packed tokens of a micro-batch; a longer sequence is read alone.
        on_batch: Told the number of sequences after each micro-batch.

    Returns:
        Logits ``(N, O, C)`` in displayed order; NaN where not read, infinite where the judge gave no finite ones.
    """
    numbers = np.array([2 * pair + ORDERS.index(order) for pair in range(len(tokens)) for order in orders], dtype=int)
    logits = np.full((len(numbers), num_classes), np.nan, dtype=np.float32)
    plan = plan_scoring(tokens.lengths[numbers // 2], world_size=1, max_tokens=max_tokens_per_batch)[0]

    def batches() -> Iterator[PackedBatch]:
        for members in plan:
            if budget.remaining() <= 0:
                return
            yield PackedBatch.from_sequences([tokens.sequence(number) for number in numbers[members]])

    with closing(reader.read(batches())) as outputs:
        for members, output in zip(plan, outputs, strict=False):
            values = output.float().cpu().numpy()
            values[~np.isfinite(values).all(axis=1)] = np.inf
            logits[members] = values
            if on_batch is not None:
                on_batch(len(members))
    return logits.reshape(len(tokens), len(orders), num_classes)


def count_readings(logits: npt.NDArray[np.float32]) -> tuple[int, int]:
    """How many of N pairs a judge was given, and for how many of them it gave no finite logits.

    Args:
        logits: ``(N, O, C)`` of :func:`read_orders`.
    """
    was_begun = ~np.isnan(logits).all(axis=(1, 2))
    return int(was_begun.sum()), int(np.isinf(logits).any(axis=(1, 2)).sum())


def align_tokens(judge: CascadeJudge, pair_ids: npt.NDArray[Any]) -> TokenizedPairs:
    """Bring a judge's tokens into the order of ``pair_ids``.

    Raises:
        CascadeError: There are no tokens for a pair.
    """
    positions = {pair_id: position for position, pair_id in enumerate(judge.tokens.pair_ids)}
    missing = [pair_id for pair_id in pair_ids if pair_id not in positions]
    if missing:
        raise CascadeError(
            f"{judge.name}: there are no tokens for {len(missing)} of {len(pair_ids)} pairs, such as {missing[0]}; "
            "they were made from another test table"
        )
    return judge.tokens.take(np.array([positions[pair_id] for pair_id in pair_ids], dtype=np.int64))


def _probabilities(logits: torch.Tensor, order: str) -> FloatArray:
    """Probabilities of A and B, ``(S, 2)``; NaN where a logit is not finite, as float16 may overflow."""
    values = logits.detach().float().cpu().numpy()
    is_finite = np.isfinite(values).all(axis=1)
    safe = np.where(is_finite[:, None], values, 0.0).astype(np.float32)
    is_swapped = np.full(len(values), order == ORDERS[1])
    probabilities = canonical_probabilities(safe, is_swapped)[:, :2].astype(np.float64)
    probabilities[~is_finite] = np.nan
    return probabilities
