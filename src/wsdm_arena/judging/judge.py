"""A judge that people call: which of two answers would a human prefer?

::

    from wsdm_arena import Judge

    with Judge.load("bundle") as judge:
        verdict = judge.compare("What is 2 + 2?", "4", "5")
        table = judge.compare_many(pairs)
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from wsdm_arena.columns import ORDERS
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.judging.cascade import run_cascade
from wsdm_arena.judging.exported import (
    ExportedJudge,
    JudgeError,
    Placement,
    check_options,
    open_bundles,
    resolve_weights,
)
from wsdm_arena.judging.pair_texts import PairsLike, PairTexts, as_frame
from wsdm_arena.judging.reading import BatchReader, Budget, CascadeJudge, LogitsCheck, count_readings, read_orders
from wsdm_arena.judging.verdicts import Verdict, Verdicts, mean_verdicts, read_probabilities, with_ties
from wsdm_arena.scoring.cascade import CascadeError

__all__ = ["Judge", "JudgeError", "Verdict"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Told the number of readings that are done, and of all; None while the latter is unknown."""

PAIRS_AT_A_TIME = 4_096
"""Pairs whose tokens are in memory together."""


class Judge:
    """One or several exported judges in memory. Made by :meth:`load`.

    Not thread-safe: one thread at a time may ask a judge. The same pairs get the same verdicts every time; in other
    company, which fills micro-batches otherwise, they may differ in the seventh digit.

    Attributes:
        names: Of the judges; weights and columns use them.
        weights: By name.
        orders: In which every pair is read; of a cascade ``("ab", "ba")``, one for each judge.
        is_cascade: Whether the second judge reads only what it can change.
        is_calibrated: Whether probabilities are at the bundles' temperatures.
    """

    def __init__(
        self,
        judges: Sequence[ExportedJudge],
        *,
        weights: Mapping[str, float],
        threshold: float | None,
        orders: Sequence[str],
        is_cascade: bool,
        is_calibrated: bool,
        placement: Placement,
        keep_loaded: bool = True,
    ) -> None:
        self.names = tuple(judge.name for judge in judges)
        self.weights = dict(weights)
        self.orders = tuple(orders)
        self.is_cascade = is_cascade
        self.is_calibrated = is_calibrated
        self._judges = tuple(judges)
        self._threshold = threshold
        self._placement = placement
        self._is_closed = False
        with ExitStack() as stack:
            self._readers: dict[str, BatchReader] = {
                judge.name: stack.enter_context(judge.open(placement)) for judge in judges if keep_loaded
            }
            self._stack = stack.pop_all()

    @classmethod
    def load(
        cls,
        *bundles: str | Path,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        cascade: bool = False,
        threshold: float | None = None,
        orders: Sequence[str] = ORDERS,
        calibrated: bool = True,
        devices: Sequence[str] = ("auto",),
        dtype: str = "auto",
        attention: AttentionName = "auto",
        max_tokens_per_batch: int = 8_192,
        keep_loaded: bool = True,
        verify_checksums: bool | None = None,
    ) -> Self:
        """Load judges from their bundles. Nothing is fetched from anywhere.

        Args:
            bundles: Directories that an export wrote. The probabilities of several are averaged.
            weights: Of several: one each, or by name (or path), 1 for those not named; all the same by default.
            cascade: Two judges share the work: the first reads every pair as it stands, the second exchanged those
                whose winner it can still change. Its probabilities are not calibrated, and its winner is never ``tie``.
            threshold: Of the cascade: the second judge reads pairs with ``|p_a - p_b|`` of the first below this; by
                default ``w2 / w1``, beyond which it cannot change the winner.
            orders: "ab" (as it stands), "ba" (answers exchanged) or both, which are averaged. One takes half the time.
            calibrated: Divide logits by the bundle's temperature. It was found for readings in both orders.
            devices: ``auto``: the first GPU, else the CPU. With several, such as ``cuda:0`` and ``cuda:1``, each judge
                is split over them.
            dtype: Of weights and activations; ``auto``: bfloat16 where the GPU has it, else float16, float32 on CPUs.
            attention: Kernel for packed sequences; ``auto`` takes the fastest that there is.
            max_tokens_per_batch: Packed tokens of a micro-batch; less takes less memory.
            keep_loaded: Load all judges now and keep them in memory until :meth:`close`. False: each is loaded when its
                turn comes, in every call, and freed at once: for tables, and judges that are too large together.
            verify_checksums: Read every file and compare it with the manifest; by default if a bundle is small.

        Raises:
            BundleError: A bundle is half written, damaged, or of another version or prompt than it says.
            JudgeError: Bundles and options do not go together.
            DeviceError: This machine lacks a device.
        """
        judges = open_bundles(bundles, verify_checksums=verify_checksums)
        if cascade and calibrated:
            logger.info("a cascade decides by uncalibrated probabilities, and states them so")
        resolved = resolve_weights(judges, weights)
        check_options(judges, resolved, cascade=cascade, threshold=threshold, orders=orders)
        return cls(
            judges,
            weights=resolved,
            threshold=threshold,
            orders=orders,
            is_cascade=cascade,
            is_calibrated=calibrated and not cascade,
            placement=Placement(tuple(devices), dtype, attention, max_tokens_per_batch),
            keep_loaded=keep_loaded,
        )

    @property
    def num_classes(self) -> int:
        """2, or 3 where the judges know ties."""
        return self._judges[0].num_classes

    def compare(self, prompt: Any, response_a: Any, response_b: Any) -> Verdict:
        """Say which of two answers people would prefer.

        Texts may be anything: empty, of any length and language, None. What is no text is made one as in the pipeline;
        a list of turns becomes JSON.

        Args:
            prompt: What both answer.
            response_a: One answer.
            response_b: The other.

        Raises:
            JudgeError: The judge gives no finite logits, or is closed.
        """
        return self._judge(as_frame([(prompt, response_a, response_b)]), Budget(time.monotonic, None), None)[0]

    def compare_many(
        self, pairs: PairsLike, *, progress: Progress | None = None, time_budget_s: float | None = None
    ) -> pd.DataFrame:
        """Judge many pairs.

        Args:
            pairs: A table or mappings with ``prompt``, ``response_a`` and ``response_b``, or triples of these. Pairs
                that stand there again are read once.
            progress: Told how far the work is, such as :func:`~wsdm_arena.progress.show_progress` gives.
            time_budget_s: Seconds from the call on. What is not read then has no verdict: ``winner`` is null. Of a
                cascade see :func:`~wsdm_arena.judging.cascade.run_cascade`: every pair has a winner. None: no limit.

        Returns:
            One row a pair, in the order and with the index of ``pairs``: ``winner`` (``model_a``, ``model_b``,
            ``tie``), ``probability_a``, ``probability_b``[, ``probability_tie``], ``swap_gap``, ``truncated``; of
            several judges also ``decided_by`` and what each says, ``probability_a.<judge>`` and so on.

        Raises:
            RawTableError: The table lacks a column.
            TypeError: A pair is none.
            JudgeError: A judge gives no finite logits for more than 1 % of the pairs that it reads, or is closed.
        """
        frame = as_frame(pairs)
        return self._judge(frame, Budget(time.monotonic, time_budget_s), progress).to_frame(frame.index)

    def close(self) -> None:
        """Free the judges' memory; the judge cannot be asked any more."""
        self._is_closed = True
        self._readers = {}
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "cascade of " if self.is_cascade else ""
        return f"Judge({what}{', '.join(self.names)}; {'closed' if self._is_closed else 'open'})"

    def _judge(self, frame: pd.DataFrame, budget: Budget, progress: Progress | None) -> Verdicts:
        if self._is_closed:
            raise JudgeError("this judge is closed; load it again")
        pairs = PairTexts.from_frame(frame)
        if not len(pairs):
            return self._average(_no_logits(self), {name: np.zeros(0, dtype=bool) for name in self.names})
        try:
            verdicts = (
                self._cascade(pairs, budget, progress) if self.is_cascade else self._read(pairs, budget, progress)
            )
        except CascadeError as error:
            raise JudgeError(str(error)) from error
        return verdicts.take(pairs.pair_of_row)

    def _open(self, judge: ExportedJudge) -> AbstractContextManager[BatchReader]:
        """The judge as it is in memory, or loaded for as long as the context is open."""
        if judge.name in self._readers:
            return nullcontext(self._readers[judge.name])
        return judge.open(self._placement)

    def _read(self, pairs: PairTexts, budget: Budget, progress: Progress | None) -> Verdicts:
        num_readings = len(pairs) * len(self._judges) * len(self.orders)
        num_done = 0

        def advance(num_sequences: int) -> None:
            nonlocal num_done
            num_done += num_sequences
            if progress is not None:
                progress(num_done, num_readings)

        logits, truncated = {}, {}
        for judge in self._judges:
            logits[judge.name], truncated[judge.name] = self._read_alone(judge, pairs, budget, advance)
        return self._average(logits, truncated)

    def _read_alone(
        self, judge: ExportedJudge, pairs: PairTexts, budget: Budget, on_batch: Callable[[int], None]
    ) -> tuple[Any, Any]:
        """One judge's logits ``(N, O, C)``, NaN where the time was over before, and which pairs were cut, ``(N,)``."""
        logits = np.full((len(pairs), len(self.orders), judge.num_classes), np.nan, dtype=np.float32)
        truncated = np.zeros(len(pairs), dtype=bool)
        check = LogitsCheck(judge.name, len(pairs), JudgeError)
        if budget.remaining() <= 0:
            return logits, truncated
        with self._open(judge) as reader:
            for start in range(0, len(pairs), PAIRS_AT_A_TIME):
                if budget.remaining() <= 0:
                    break
                here = slice(start, start + PAIRS_AT_A_TIME)
                tokens = judge.tokenize(pairs.pair_ids[here], pairs.texts[here])
                truncated[here] = tokens.truncated
                logits[here] = read_orders(
                    reader,
                    tokens,
                    self.orders,
                    budget,
                    num_classes=judge.num_classes,
                    max_tokens_per_batch=self._placement.max_tokens_per_batch,
                    on_batch=on_batch,
                )
                check.count(*count_readings(logits[here]))
        check.finish()
        return logits, truncated

    def _average(self, logits: Mapping[str, Any], truncated: Mapping[str, Any]) -> Verdicts:
        readings = {
            judge.name: read_probabilities(
                logits[judge.name], self.orders, judge.bundle.temperature if self.is_calibrated else 1.0
            )
            for judge in self._judges
        }
        return mean_verdicts(readings, self.weights, truncated, self.orders)

    def _cascade(self, pairs: PairTexts, budget: Budget, progress: Progress | None) -> Verdicts:
        tokens = [judge.tokenize(pairs.pair_ids, pairs.texts) for judge in self._judges]
        judges = [
            CascadeJudge(judge.name, of_judge, partial(self._open, judge))
            for judge, of_judge in zip(self._judges, tokens, strict=True)
        ]
        num_done = 0

        def advance(_: str, num_tokens: int) -> None:
            nonlocal num_done
            num_done += num_tokens
            if progress is not None:
                progress(num_done, None)

        _, responses_a, responses_b = zip(*pairs.texts, strict=True)
        columns = {
            "id": pairs.pair_ids,
            "pair_id": pairs.pair_ids,
            "response_a": responses_a,
            "response_b": responses_b,
        }
        result = run_cascade(
            judges,
            pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()}),
            weights=self.weights,
            threshold=self._threshold,
            time_budget_s=budget.remaining() if budget.is_limited else None,
            max_tokens_per_batch=self._placement.max_tokens_per_batch,
            on_batch=advance,
        )
        were_read = [reading.was_read for reading in result.readings]
        table = result.verdicts
        return Verdicts(
            probabilities=with_ties(table[["probability_a", "probability_b"]].to_numpy(), self.num_classes),
            winners=table["winner"].to_numpy(dtype=object),
            swap_gap=np.full(len(table), np.nan),
            truncated=np.any([each.truncated & read for each, read in zip(tokens, were_read, strict=True)], axis=0),
            decided_by=table["decided_by"].to_numpy(dtype=object),
            judges={
                name: with_ties(reading.probabilities, self.num_classes)
                for name, reading in zip(self.names, result.readings, strict=True)
            },
        )


def _no_logits(judge: Judge) -> dict[str, Any]:
    return {name: np.empty((0, len(judge.orders), judge.num_classes), dtype=np.float32) for name in judge.names}
