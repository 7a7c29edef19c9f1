"""What judges say of the rows of files: judge after judge over parts of the rows, one judge and one part in memory.

What a judge says of a part is kept beside the output until all is done, so a killed command goes on where it was.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from wsdm_arena.columns import ORDERS
from wsdm_arena.judging.cascade import read_first, read_second
from wsdm_arena.judging.exported import ExportedJudge, JudgeError, Placement
from wsdm_arena.judging.files.parts import Part, PartRows, plan_parts, stream_parts
from wsdm_arena.judging.files.parts_directory import PartsDirectory, StoredReading
from wsdm_arena.judging.files.request import Inputs
from wsdm_arena.judging.reading import (
    BatchReader,
    Budget,
    CascadeJudge,
    JudgeWork,
    LogitsCheck,
    Reading,
    count_readings,
    read_orders,
)
from wsdm_arena.progress import Progress, show_progress
from wsdm_arena.scoring.cascade import resolve_threshold, select_uncertain

_FORMAT = 1
"""Of stored readings; raised when their meaning changes."""


@dataclass(frozen=True)
class FileOptions:
    """How files are judged; see :meth:`wsdm_arena.judging.judge.Judge.load`.

    Attributes:
        rows_per_part: Rows that are read between two writes: what a killed command may lose.
        time_budget_s: Seconds from ``began`` on; None: no limit.
        keep_columns: Whether the inputs' own columns go into the output, as texts.
        restart: Whether what an earlier command has left beside the output is dropped.
    """

    weights: Mapping[str, float] | Sequence[float] | None = None
    cascade: bool = False
    threshold: float | None = None
    orders: Sequence[str] = ORDERS
    calibrated: bool = True
    placement: Placement = field(default_factory=Placement)
    rows_per_part: int = 1_000
    time_budget_s: float | None = None
    keep_columns: bool = False
    verify_checksums: bool | None = None
    restart: bool = False


@dataclass
class FileWork:
    """One command at work.

    Attributes:
        judges: In their order; of a cascade the first reads first.
        weights: By judge.
        inputs: The files.
        options: How they are judged.
        budget: Time that is left.
        directory: Where readings are kept.
        num_rows_read_now: Rows that this process has read, by judge.
        seconds_reading: How long they read, loading aside.
    """

    judges: Sequence[ExportedJudge]
    weights: Mapping[str, float]
    inputs: Inputs
    options: FileOptions
    budget: Budget
    directory: PartsDirectory
    num_rows_read_now: dict[str, int] = field(default_factory=dict)
    seconds_reading: float = 0.0
    _seconds_loading: float = 0.0

    @cached_property
    def parts(self) -> list[Part]:
        """All rows."""
        return plan_parts(self.inputs, self.options.rows_per_part)

    @cached_property
    def threshold(self) -> float:
        """Of the cascade."""
        return resolve_threshold(self.pair_weights, self.options.threshold)

    @property
    def pair_weights(self) -> tuple[float, float]:
        """Of the cascade's judges."""
        first, second = self.judges
        return self.weights[first.name], self.weights[second.name]

    @property
    def num_classes(self) -> int:
        """2, or 3 where the judges know ties."""
        return self.judges[0].num_classes

    def describe(self) -> dict[str, Any]:
        """Everything that the verdicts depend on, as JSON."""
        options = self.options
        return {
            "format": _FORMAT,
            "bundles": [judge.bundle.fingerprint for judge in self.judges],
            "weights": dict(self.weights),
            "cascade": options.cascade,
            "threshold": self.threshold if options.cascade else None,
            "orders": list(options.orders),
            "calibrated": options.calibrated,
            "dtype": str(options.placement.chosen_dtype),
            "rows_per_part": options.rows_per_part,
            "inputs": self.inputs.describe(),
        }

    def let_read(self, number: int) -> None:
        """Have one judge read whatever it has not read yet; it is loaded when there is something to read."""
        judge = self.judges[number]
        missing = [part for part in self.parts if self._is_to_read(number, part)]
        num_rows = self.inputs.num_rows
        num_done = num_rows - sum(part.num_rows for part in missing)
        check = self._check_stored(number, {part.number for part in missing})
        if number and self.budget.remaining() <= self._seconds_loading:
            return  # it would hardly be loaded before the time is over
        with ExitStack() as stack, self._progress(judge, num_done) as progress:
            reader: BatchReader | None = None
            for part, rows in stream_parts(missing, self.options.rows_per_part):
                if self.budget.remaining() <= 0:
                    break
                if reader is None:
                    before = self.budget.elapsed()
                    reader = stack.enter_context(judge.open(self.options.placement))
                    self._seconds_loading = self.budget.elapsed() - before
                before = self.budget.elapsed()
                advance = partial(_advance, progress, num_done, num_rows)
                reading = self._read(number, part, rows, reader, advance)
                check.count(*self._count(reading))
                self.directory.write(number, part.number, reading, is_complete=self.budget.remaining() > 0)
                self.seconds_reading += self.budget.elapsed() - before
                num_done += part.num_rows
                self.num_rows_read_now[judge.name] = self.num_rows_read_now.get(judge.name, 0) + part.num_rows
                progress(num_done, num_rows)
        check.finish()

    def _check_stored(self, number: int, missing: Container[int]) -> LogitsCheck:
        """Count what a judge has read already of all that it is to read; a killed command's count goes on."""
        num_to_read, counts = 0, []
        for part in self.parts:
            if self.options.cascade and number:
                first = self.directory.read(0, part.number, part.num_rows)
                num_to_read += 0 if first is None else int(self._uncertain(first).sum())
            stored = None if part.number in missing else self.directory.read(number, part.number, part.num_rows)
            counts += [] if stored is None else [self._count(stored)]
        if not (self.options.cascade and number):
            num_to_read = sum(file.survey.num_readable for file in self.inputs.files)
        check = LogitsCheck(self.judges[number].name, num_to_read, JudgeError)
        for counted in counts:
            check.count(*counted)
        return check

    def _count(self, reading: StoredReading) -> tuple[int, int]:
        """Rows that were given to the judge, and those of them that got no finite logits."""
        if not self.options.cascade:
            return count_readings(reading["logits"])
        was_begun = reading["was_begun"]
        return int(was_begun.sum()), int((was_begun & np.isnan(reading["probabilities"][:, 0])).sum())

    @cached_property
    def is_done(self) -> bool:
        """Whether every judge has read all that it is to read, once they have had their time."""
        return not any(self._is_to_read(number, part) for number in range(len(self.judges)) for part in self.parts)

    def _progress(self, judge: ExportedJudge, num_done: int) -> AbstractContextManager[Progress]:
        return show_progress(f"rows read by {judge.name}", done=num_done, total=self.inputs.num_rows)

    def _is_to_read(self, number: int, part: Part) -> bool:
        if self.directory.has(number, part.number, part.num_rows):
            return False
        if not (self.options.cascade and number):
            return True
        first = self.directory.read(0, part.number, part.num_rows)
        return first is not None and bool(self._uncertain(first).any())

    def _uncertain(self, first: StoredReading) -> Any:
        reading = Reading(first["probabilities"], first["was_begun"], JudgeWork(""))
        return select_uncertain(reading.differences, self.threshold) & reading.was_begun

    def _read(
        self, number: int, part: Part, rows: PartRows, reader: BatchReader, advance: Callable[[float], None]
    ) -> StoredReading:
        """What the judge says of a part, for every row."""
        if self.options.cascade:
            return self._read_in_cascade(number, part, rows, reader, advance)
        judge, pairs = self.judges[number], rows.pairs
        tokens = judge.tokenize(pairs.pair_ids, pairs.texts)
        num_sequences = 0

        def count(more: int) -> None:
            nonlocal num_sequences
            num_sequences += more
            advance(part.num_rows * num_sequences / (len(tokens) * len(self.options.orders)))

        logits = read_orders(
            reader,
            tokens,
            self.options.orders,
            self.budget,
            num_classes=judge.num_classes,
            max_tokens_per_batch=self.options.placement.max_tokens_per_batch,
            on_batch=count,
        )
        return {"logits": rows.spread(logits, np.nan), "truncated": rows.spread(tokens.truncated, False)}

    def _read_in_cascade(
        self, number: int, part: Part, rows: PartRows, reader: BatchReader, advance: Callable[[float], None]
    ) -> StoredReading:
        judge, pairs = self.judges[number], rows.pairs
        reading = Reading.none(len(pairs), judge.name)
        truncated = np.zeros(len(pairs), dtype=bool)
        wanted = np.arange(len(pairs))
        first: Reading | None = None
        if number:
            stored = self.directory.read(0, part.number, part.num_rows)
            assert stored is not None
            wanted = np.flatnonzero(rows.gather(self._uncertain(stored)))
            first = Reading(
                rows.gather(stored["probabilities"]), rows.gather(stored["was_begun"]), JudgeWork(self.judges[0].name)
            ).take(wanted)
        tokens = judge.tokenize(
            [pairs.pair_ids[pair] for pair in wanted.tolist()], [pairs.texts[pair] for pair in wanted.tolist()]
        )
        cascade_judge = CascadeJudge(judge.name, tokens, lambda: nullcontext(reader))
        num_tokens = 0

        def count(_: str, more: int) -> None:
            nonlocal num_tokens
            num_tokens += more
            advance(part.num_rows * num_tokens / int(tokens.lengths.sum()))

        options: dict[str, Any] = {
            "max_tokens_per_batch": self.options.placement.max_tokens_per_batch,
            "on_batch": count,
            "is_all": False,
        }
        if first is None:
            read = read_first(cascade_judge, tokens, self.budget, **options)
        else:
            read = read_second(cascade_judge, tokens, first, self.threshold, self.budget, **options)
        reading.probabilities[wanted] = read.probabilities
        reading.was_begun[wanted] = read.was_begun
        truncated[wanted] = tokens.truncated & read.was_begun
        return {
            "probabilities": rows.spread(reading.probabilities, np.nan),
            "was_begun": rows.spread(reading.was_begun, False),
            "truncated": rows.spread(truncated, False),
        }

    def stored(self, number: int, part: Part) -> StoredReading:
        """What a judge said of a part; nothing where it did not come to it."""
        found = self.directory.read(number, part.number, part.num_rows)
        if found is not None:
            return found
        truncated = np.zeros(part.num_rows, dtype=bool)
        if self.options.cascade:
            none = Reading.none(part.num_rows, "")
            return {"probabilities": none.probabilities, "was_begun": none.was_begun, "truncated": truncated}
        shape = (part.num_rows, len(self.options.orders), self.num_classes)
        return {"logits": np.full(shape, np.nan, dtype=np.float32), "truncated": truncated}


def _advance(progress: Callable[[int, int | None], Any], num_done: int, num_rows: int, more: float) -> None:
    progress(num_done + int(more), num_rows)
