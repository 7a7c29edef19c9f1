"""From what judges said of the rows of files to a table of verdicts, and the report beside it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.judging.cascade import state_verdicts
from wsdm_arena.judging.files.parts import PartRows, stream_parts
from wsdm_arena.judging.files.parts_directory import StoredReading
from wsdm_arena.judging.files.readings import FileWork
from wsdm_arena.judging.files.report import BY_LENGTH, NO_LOGITS, NO_TIME, UNREADABLE, FileReport, FileSummary
from wsdm_arena.judging.files.request import report_path
from wsdm_arena.judging.files.writing import writing_verdicts
from wsdm_arena.judging.reading import JudgeWork, Reading
from wsdm_arena.judging.verdicts import Verdicts, mean_verdicts, read_probabilities, with_ties
from wsdm_arena.preferences.raw_rows import FAULT_COLUMN, FILE_COLUMN, INTERNAL_COLUMNS, ROW_COLUMN
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_names, clean_texts
from wsdm_arena.runs.files import write_atomically


class VerdictTable:
    """Makes the output of a command, a part at a time.

    Args:
        work: What was read.
    """

    def __init__(self, work: FileWork) -> None:
        self._work = work
        self._judges, self._options, self._inputs = work.judges, work.options, work.inputs
        self._num_classes = work.num_classes

    def write(self, output: Path, seconds: Callable[[], float]) -> FileSummary:
        """Put together what was read, write it, and list what has no verdict.

        Args:
            output: Where to; beside it ``<output>.report.json``.
            seconds: Tells how long the command has taken.
        """
        report = FileReport()
        kept = self._kept_columns()
        with writing_verdicts(output, self._schema(kept)) as write:
            columns = None if self._options.keep_columns else ("id",)
            for part, rows in stream_parts(self._work.parts, self._options.rows_per_part, columns=columns):
                readings = [self._work.stored(number, part) for number in range(len(self._judges))]
                verdicts = self._combine(rows, readings)
                reasons = self._reasons(rows, verdicts, readings)
                report.add(rows, reasons, verdicts.winners)
                if verdicts.decided_by is not None:
                    report.read_by.update(name for name in verdicts.decided_by.tolist() if name is not None)
                write(self._table(rows, verdicts, reasons, kept))
        report_file = report_path(output)
        summary = FileSummary(
            output=output,
            report_file=report_file,
            num_rows=self._inputs.num_rows,
            winners={name: report.winners[name] for name in sorted(report.winners)},
            without_verdict=dict(report.without_verdict.most_common()),
            read_by=dict(report.read_by.most_common()),
            left_out=self._inputs.left_out,
            num_rows_read_now=self._work.num_rows_read_now,
            seconds=seconds(),
            seconds_reading=self._work.seconds_reading,
            num_repaired=report.num_repaired,
            kept=None if self._work.is_done else self._work.directory.path,
        )
        write_atomically(report_file, json.dumps(report.to_dict(summary), indent=2, ensure_ascii=False).encode())
        return summary

    def _combine(self, rows: PartRows, readings: Sequence[StoredReading]) -> Verdicts:
        names = [judge.name for judge in self._judges]
        truncated = {name: reading["truncated"] for name, reading in zip(names, readings, strict=True)}
        if self._options.cascade:
            return self._combine_cascade(rows, readings, np.any(list(truncated.values()), axis=0))
        probabilities = {
            judge.name: read_probabilities(
                reading["logits"], self._options.orders, judge.bundle.temperature if self._options.calibrated else 1.0
            )
            for judge, reading in zip(self._judges, readings, strict=True)
        }
        return mean_verdicts(probabilities, self._work.weights, truncated, tuple(self._options.orders))

    def _combine_cascade(self, rows: PartRows, readings: Sequence[StoredReading], truncated: Any) -> Verdicts:
        names = [judge.name for judge in self._judges]
        first, second = (
            Reading(reading["probabilities"], reading["was_begun"], JudgeWork(name))
            for name, reading in zip(names, readings, strict=True)
        )
        numbers = [str(row) for row in range(len(rows.frame))]
        _, responses_a, responses_b = zip(*rows.texts, strict=True)
        columns = {"id": numbers, "pair_id": numbers, "response_a": responses_a, "response_b": responses_b}
        pairs = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
        table = state_verdicts(pairs, names, (first, second), self._work.pair_weights)
        winners, decided_by = (table[name].to_numpy(dtype=object, copy=True) for name in ("winner", "decided_by"))
        is_pair = np.isin(np.arange(len(table)), rows.readable)
        winners[~is_pair], decided_by[~is_pair] = None, None
        return Verdicts(
            probabilities=with_ties(table[["probability_a", "probability_b"]].to_numpy(), self._num_classes),
            winners=winners,
            swap_gap=np.full(len(table), np.nan),
            truncated=truncated,
            decided_by=decided_by,
            judges={
                name: with_ties(reading.probabilities, self._num_classes)
                for name, reading in zip(names, (first, second), strict=True)
            },
        )

    def _reasons(self, rows: PartRows, verdicts: Verdicts, readings: Sequence[StoredReading]) -> Any:
        """Why a row has no verdict by a judge, ``(N,)``; None where it has."""
        if self._options.cascade:
            overflows = np.any([each["was_begun"] & np.isnan(each["probabilities"][:, 0]) for each in readings], axis=0)
        else:
            overflows = np.any([np.isinf(each["logits"]).any(axis=(1, 2)) for each in readings], axis=0)
        is_unread = np.isnan(verdicts.probabilities[:, 0])
        is_pair = np.isin(np.arange(len(verdicts)), rows.readable)
        without_time = BY_LENGTH if self._options.cascade else NO_TIME
        reasons = np.select(
            [~is_pair, is_unread & overflows & (not self._options.cascade), is_unread],
            [UNREADABLE, NO_LOGITS, without_time],
            default="",
        ).astype(object)
        reasons[reasons == ""] = None
        return reasons

    def _table(self, rows: PartRows, verdicts: Verdicts, reasons: Any, kept: Mapping[str, str]) -> pd.DataFrame:
        frame = rows.frame
        faults = frame[FAULT_COLUMN].to_numpy(dtype=object)
        columns: dict[str, Any] = {"file": frame[FILE_COLUMN].to_numpy(), "row": frame[ROW_COLUMN].to_numpy()}
        if self._inputs.has_ids:
            unreported = RowReport(frame)
            ids = clean_names(frame["id"], unreported) if "id" in frame else [None] * len(frame)
            columns["id"] = pd.Series(ids, dtype=object)
        columns |= {str(name): column for name, column in verdicts.to_frame().items()}
        columns["fault"] = pd.Series(np.where(reasons == UNREADABLE, faults, reasons), dtype=object)
        columns |= {written: pd.Series(self._as_texts(name, rows), dtype=object) for name, written in kept.items()}
        return pd.DataFrame(columns)

    def _as_texts(self, column: str, rows: PartRows) -> list[str | None]:
        if column in TEXT_COLUMNS:
            return [texts[TEXT_COLUMNS.index(column)] for texts in rows.texts]
        if column not in rows.frame:
            return [None] * len(rows.frame)
        return clean_texts(rows.frame[column], RowReport(rows.frame))

    def _kept_columns(self) -> dict[str, str]:
        """Columns of the inputs that go into the output, and what they are called there."""
        if not self._options.keep_columns:
            return {}
        own = self._schema({}).names
        found = dict.fromkeys(name for file in self._inputs.files for name in file.survey.columns)
        names = [name for name in found if name not in (*INTERNAL_COLUMNS, "id")]
        kept = {name: name for name in names if name not in own}
        taken = {*own, *kept}
        for name in names:
            if name in own:
                written = f"input_{name}"
                while written in taken:
                    written = f"input_{written}"
                kept[name] = written
                taken.add(written)
        return {name: kept[name] for name in names}

    def _schema(self, kept: Mapping[str, str]) -> pa.Schema:
        labels = LABEL_COLUMNS[: self._num_classes]
        several = len(self._judges) > 1
        own = [f"{label}.{judge.name}" for judge in self._judges for label in labels] if several else []
        fields: list[tuple[str, pa.DataType]] = [
            ("file", pa.string()),
            ("row", pa.int64()),
            *([("id", pa.string())] if self._inputs.has_ids else []),
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
