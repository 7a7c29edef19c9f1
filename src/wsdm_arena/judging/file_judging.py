"""Judge files of any number of rows: judge after judge over parts of the rows, one judge and one part in memory.

What a judge says of a part is kept beside the output until all is done, so a killed command goes on where it was. The
inputs are read once for each judge, and once more when the verdicts are written.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from wsdm_arena.batching.planner import ORDERS
from wsdm_arena.judging.cascade import read_first, read_second, state_verdicts
from wsdm_arena.judging.exported import ExportedJudge, Placement, open_bundles, resolve_weights
from wsdm_arena.judging.file_parts import Part, PartRows, plan_parts, stream_parts
from wsdm_arena.judging.file_report import BY_LENGTH, NO_LOGITS, NO_TIME, UNREADABLE, FileReport, FileSummary
from wsdm_arena.judging.file_request import Inputs
from wsdm_arena.judging.judge import check_options, require_finite
from wsdm_arena.judging.parts import PartsDirectory
from wsdm_arena.judging.parts import Reading as StoredReading
from wsdm_arena.judging.reading import BatchReader, Budget, CascadeJudge, JudgeWork, Reading, read_orders
from wsdm_arena.judging.verdict_files import writing_verdicts
from wsdm_arena.judging.verdicts import Verdicts, mean_verdicts, read_probabilities, with_ties
from wsdm_arena.preferences.raw_rows import FAULT_COLUMN, INTERNAL_COLUMNS, ROW_COLUMN
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_names, clean_texts
from wsdm_arena.progress import show_progress
from wsdm_arena.runs.files import write_atomically
from wsdm_arena.schemas import LABEL_COLUMNS
from wsdm_arena.scoring.cascade import resolve_threshold, select_uncertain

logger = logging.getLogger(__name__)

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


def judge_files(
    bundles: Sequence[str | Path], inputs: Inputs, output: Path, options: FileOptions, *, began: float | None = None
) -> FileSummary:
    """Judge every row of the files and write a verdict for each.

    When the time is over, rows that not all judges have read are decided by those that have. In a cascade, rows that
    the second judge was still to read keep the first one's verdict, and of rows that nobody read the longer answer
    wins; without a cascade these have none. Parts are read in the order of the files, within a part the longest pairs
    first (the second judge of a cascade: the most uncertain first).

    Args:
        bundles: Directories of bundles.
        inputs: Of :func:`~wsdm_arena.judging.file_request.examine_inputs`.
        output: A file whose suffix says the format; replaced if it is there. ``<output>.report.json`` lists rows.
        options: How.
        began: When the time began to run, on ``time.monotonic``; None: now.

    Raises:
        BundleError: A bundle is half written, damaged, or of another version or prompt than it says.
        JudgeError: Bundles and options do not go together, or a judge gives no finite logits for too many rows.
        CascadeError: The same of a cascade.
        FileJudgingError: Another command for this output was begun, or an input was changed meanwhile.
        DirectoryInUseError: Another process is writing this output.
    """
    start = time.monotonic() if began is None else began
    budget = Budget(time.monotonic, options.time_budget_s, start)
    judges = open_bundles(bundles, verify_checksums=options.verify_checksums)
    weights = resolve_weights(judges, options.weights)
    check_options(judges, weights, cascade=options.cascade, threshold=options.threshold, orders=tuple(options.orders))
    work = _FileWork(judges, weights, inputs, options, budget, PartsDirectory(output))
    with work.directory.begin(work.describe(), restart=options.restart) as is_resumed:
        if is_resumed:
            logger.info("%s: going on with what an earlier command has left", work.directory.path)
        for number in range(len(judges)):
            work.let_read(number)
        summary = work.write_verdicts(output, lambda: time.monotonic() - start)
        work.directory.remove()
    return summary


@dataclass
class _FileWork:
    """One command at work."""

    judges: Sequence[ExportedJudge]
    weights: Mapping[str, float]
    inputs: Inputs
    options: FileOptions
    budget: Budget
    directory: PartsDirectory
    num_rows_read_now: dict[str, int] = field(default_factory=dict)
    seconds_loading: float = 0.0
    num_unreadable: int = 0

    @cached_property
    def parts(self) -> list[Part]:
        return plan_parts(self.inputs, self.options.rows_per_part)

    @cached_property
    def threshold(self) -> float:
        """Of the cascade."""
        return resolve_threshold(self.pair_weights, self.options.threshold)

    @property
    def pair_weights(self) -> tuple[float, float]:
        first, second = self.judges
        return self.weights[first.name], self.weights[second.name]

    @property
    def num_classes(self) -> int:
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
        num_rows = sum(part.num_rows for part in self.parts)
        num_done = num_rows - sum(part.num_rows for part in missing)
        if number and self.budget.remaining() <= self.seconds_loading:
            return  # it would hardly be loaded before the time is over
        with ExitStack() as stack, show_progress(f"rows read by {judge.name}") as progress:
            reader: BatchReader | None = None
            for part, rows in stream_parts(missing, self.options.rows_per_part):
                if self.budget.remaining() <= 0:
                    break
                if reader is None:
                    before = self.budget.elapsed()
                    reader = stack.enter_context(judge.open(self.options.placement))
                    self.seconds_loading = self.budget.elapsed() - before
                advance = partial(_advance, progress, num_done, num_rows)
                reading = self._read(number, part, rows, reader, advance)
                self.directory.write(number, part.number, reading, is_complete=self.budget.remaining() > 0)
                num_done += part.num_rows
                self.num_rows_read_now[judge.name] = self.num_rows_read_now.get(judge.name, 0) + part.num_rows
                progress(num_done, num_rows)

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
            return self._read_in_cascade(number, part, rows, reader)
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
        self.num_unreadable += int(np.isinf(logits).any(axis=(1, 2)).sum())
        require_finite(self.num_unreadable, self.inputs.num_rows)
        return {"logits": rows.spread(logits, np.nan), "truncated": rows.spread(tokens.truncated, False)}

    def _read_in_cascade(self, number: int, part: Part, rows: PartRows, reader: BatchReader) -> StoredReading:
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
        limit = self.options.placement.max_tokens_per_batch
        if first is None:
            read = read_first(cascade_judge, tokens, self.budget, max_tokens_per_batch=limit)
        else:
            read = read_second(cascade_judge, tokens, first, self.threshold, self.budget, max_tokens_per_batch=limit)
        reading.probabilities[wanted] = read.probabilities
        reading.was_begun[wanted] = read.was_begun
        truncated[wanted] = tokens.truncated & read.was_begun
        return {
            "probabilities": rows.spread(reading.probabilities, np.nan),
            "was_begun": rows.spread(reading.was_begun, False),
            "truncated": rows.spread(truncated, False),
        }

    def write_verdicts(self, output: Path, seconds: Callable[[], float]) -> FileSummary:
        """Put together what was read, write it, and list what has no verdict."""
        report = FileReport()
        kept = self._kept_columns()
        with writing_verdicts(output, self._schema(kept)) as write:
            for part, rows in stream_parts(self.parts, self.options.rows_per_part):
                readings = [self._stored(number, part) for number in range(len(self.judges))]
                verdicts = self._combine(rows, readings)
                reasons = self._reasons(rows, verdicts, readings)
                report.add(rows, reasons, verdicts.winners)
                if verdicts.decided_by is not None:
                    report.read_by.update(name for name in verdicts.decided_by.tolist() if name is not None)
                write(self._table(rows, verdicts, reasons, kept))
        report_file = output.with_name(f"{output.name}.report.json")
        summary = FileSummary(
            output=output,
            report_file=report_file,
            num_rows=self.inputs.num_rows,
            winners={name: report.winners[name] for name in sorted(report.winners)},
            without_verdict=dict(report.without_verdict.most_common()),
            read_by=dict(report.read_by.most_common()),
            left_out=self.inputs.left_out,
            num_rows_read_now=self.num_rows_read_now,
            seconds=seconds(),
        )
        write_atomically(report_file, json.dumps(report.to_dict(summary), indent=2, ensure_ascii=False).encode())
        return summary

    def _stored(self, number: int, part: Part) -> StoredReading:
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

    def _combine(self, rows: PartRows, readings: Sequence[StoredReading]) -> Verdicts:
        names = [judge.name for judge in self.judges]
        truncated = {name: reading["truncated"] for name, reading in zip(names, readings, strict=True)}
        if self.options.cascade:
            return self._combine_cascade(rows, readings, np.any(list(truncated.values()), axis=0))
        probabilities = {
            judge.name: read_probabilities(
                reading["logits"], self.options.orders, judge.bundle.temperature if self.options.calibrated else 1.0
            )
            for judge, reading in zip(self.judges, readings, strict=True)
        }
        return mean_verdicts(probabilities, self.weights, truncated, tuple(self.options.orders))

    def _combine_cascade(self, rows: PartRows, readings: Sequence[StoredReading], truncated: Any) -> Verdicts:
        names = [judge.name for judge in self.judges]
        first, second = (
            Reading(reading["probabilities"], reading["was_begun"], JudgeWork(name))
            for name, reading in zip(names, readings, strict=True)
        )
        numbers = [str(row) for row in range(len(rows.frame))]
        _, responses_a, responses_b = zip(*rows.texts, strict=True)
        columns = {"id": numbers, "pair_id": numbers, "response_a": responses_a, "response_b": responses_b}
        pairs = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
        table = state_verdicts(pairs, names, (first, second), self.pair_weights)
        winners, decided_by = (table[name].to_numpy(dtype=object, copy=True) for name in ("winner", "decided_by"))
        is_pair = np.isin(np.arange(len(table)), rows.readable)
        winners[~is_pair], decided_by[~is_pair] = None, None
        return Verdicts(
            probabilities=with_ties(table[["probability_a", "probability_b"]].to_numpy(), self.num_classes),
            winners=winners,
            swap_gap=np.full(len(table), np.nan),
            truncated=truncated,
            decided_by=decided_by,
            judges={
                name: with_ties(reading.probabilities, self.num_classes)
                for name, reading in zip(names, (first, second), strict=True)
            },
        )

    def _reasons(self, rows: PartRows, verdicts: Verdicts, readings: Sequence[StoredReading]) -> Any:
        """Why a row has no verdict by a judge, ``(N,)``; None where it has."""
        if self.options.cascade:
            overflows = np.any([each["was_begun"] & np.isnan(each["probabilities"][:, 0]) for each in readings], axis=0)
        else:
            overflows = np.any([np.isinf(each["logits"]).any(axis=(1, 2)) for each in readings], axis=0)
        is_unread = np.isnan(verdicts.probabilities[:, 0])
        is_pair = np.isin(np.arange(len(verdicts)), rows.readable)
        without_time = BY_LENGTH if self.options.cascade else NO_TIME
        reasons = np.select(
            [~is_pair, is_unread & overflows & (not self.options.cascade), is_unread],
            [UNREADABLE, NO_LOGITS, without_time],
            default="",
        ).astype(object)
        reasons[reasons == ""] = None
        return reasons

    def _table(self, rows: PartRows, verdicts: Verdicts, reasons: Any, kept: Mapping[str, str]) -> pd.DataFrame:
        frame = rows.frame
        table = verdicts.to_frame()
        table.insert(0, "file", [_printable(name) for name in frame["_file"]])
        table.insert(1, "row", frame[ROW_COLUMN].to_numpy())
        if self.inputs.has_ids:
            unreported = RowReport(frame)
            ids = clean_names(frame["id"], unreported) if "id" in frame else [None] * len(frame)
            table.insert(2, "id", pd.Series(ids, dtype=object))
        faults = frame[FAULT_COLUMN].to_numpy(dtype=object)
        table["fault"] = pd.Series(np.where(reasons == UNREADABLE, faults, reasons), dtype=object)
        for column, written in kept.items():
            table[written] = pd.Series(self._as_texts(column, rows), dtype=object)
        return table

    def _as_texts(self, column: str, rows: PartRows) -> list[str | None]:
        if column in TEXT_COLUMNS:
            return [texts[TEXT_COLUMNS.index(column)] for texts in rows.texts]
        if column not in rows.frame:
            return [None] * len(rows.frame)
        return clean_texts(rows.frame[column], RowReport(rows.frame))

    def _kept_columns(self) -> dict[str, str]:
        """Columns of the inputs that go into the output, and what they are called there."""
        if not self.options.keep_columns:
            return {}
        own = self._schema({}).names
        found = dict.fromkeys(name for file in self.inputs.files for name in file.survey.columns)
        names = [name for name in found if name not in (*INTERNAL_COLUMNS, "id")]
        return {name: f"input_{name}" if name in own else name for name in names}

    def _schema(self, kept: Mapping[str, str]) -> pa.Schema:
        labels = LABEL_COLUMNS[: self.num_classes]
        several = len(self.judges) > 1
        own = [f"{label}.{judge.name}" for judge in self.judges for label in labels] if several else []
        fields: list[tuple[str, pa.DataType]] = [
            ("file", pa.string()),
            ("row", pa.int64()),
            *([("id", pa.string())] if self.inputs.has_ids else []),
            ("winner", pa.string()),
            *((label, pa.float64()) for label in labels),
            ("swap_gap", pa.float64()),
            ("truncated", pa.bool_()),
            *([("decided_by", pa.string())] if several else []),
            *((name, pa.float64()) for name in own),
            ("fault", pa.string()),
            *((name, pa.string()) for name in kept.values()),
        ]
        return pa.schema(fields)


def _advance(progress: Callable[[int, int | None], Any], num_done: int, num_rows: int, more: float) -> None:
    progress(num_done + int(more), num_rows)


def _printable(name: str) -> str:
    """A path may hold bytes that are no text."""
    return name.encode("utf-8", "replace").decode("utf-8")
