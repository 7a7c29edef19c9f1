"""The rows of a command's files, a part at a time."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.judging.files.request import FileJudgingError, InputFile, Inputs
from wsdm_arena.judging.pair_texts import PairTexts
from wsdm_arena.preferences.raw_rows import FAULT_COLUMN, FILE_COLUMN, stream_frames
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_texts, is_null
from wsdm_arena.prompts.pairs import BattleTexts


@dataclass(frozen=True)
class Part:
    """Some rows of one file.

    Attributes:
        number: Among the parts of all files.
        file: Which file.
        number_in_file: Among its parts.
        num_rows: How many rows.
    """

    number: int
    file: InputFile
    number_in_file: int
    num_rows: int


class PartRows:
    """The rows of a part, read.

    Attributes:
        frame: As :func:`~wsdm_arena.preferences.raw_rows.stream_frames` gives it, with ``_file``.
    """

    def __init__(self, frame: pd.DataFrame, file: InputFile) -> None:
        self.frame = frame.assign(**{FILE_COLUMN: file.name})

    @property
    def report(self) -> RowReport:
        """Which cells of the texts were repaired."""
        return self._cleaned[1]

    @cached_property
    def readable(self) -> npt.NDArray[np.int64]:
        """Positions of the rows that are a pair, ``(R,)``."""
        return np.flatnonzero(is_null(self.frame[FAULT_COLUMN]))

    @property
    def texts(self) -> list[BattleTexts]:
        """Clean prompt, response A and response B of every row; nulls where the row is no pair."""
        return self._cleaned[0]

    @cached_property
    def _cleaned(self) -> tuple[list[BattleTexts], RowReport]:
        report = RowReport(self.frame)
        raw = self.frame[list(TEXT_COLUMNS)]
        if len(self.readable) < len(raw):  # cells of unreadable rows are not to be cleaned, nor to be reported
            unreadable = np.setdiff1d(np.arange(len(raw)), self.readable)
            raw = raw.astype(object)
            raw.iloc[unreadable] = None
        return list(zip(*(clean_texts(raw[name], report) for name in TEXT_COLUMNS), strict=True)), report

    @cached_property
    def pairs(self) -> PairTexts:
        """The different pairs among the readable rows."""
        return PairTexts.of_texts([self.texts[row] for row in self.readable.tolist()])

    def spread(self, values: npt.NDArray[Any], fill: float | bool) -> npt.NDArray[Any]:
        """Values of each pair, ``(P, ...)``, for every row, ``(N, ...)``; ``fill`` in rows that are no pair."""
        spread = np.full((len(self.frame), *values.shape[1:]), fill, dtype=values.dtype)
        spread[self.readable] = values[self.pairs.pair_of_row]
        return spread

    def gather(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The inverse of :meth:`spread`."""
        return values[self.readable[self.pairs.first_rows]]


def plan_parts(inputs: Inputs, rows_per_part: int) -> list[Part]:
    """Cut the files into parts of so many rows, the last of each file aside."""
    parts: list[Part] = []
    for file in inputs.files:
        for number, start in enumerate(range(0, file.survey.num_rows, rows_per_part)):
            num_rows = min(rows_per_part, file.survey.num_rows - start)
            parts.append(Part(len(parts), file, number, num_rows))
    return parts


def stream_parts(
    parts: Collection[Part], rows_per_part: int, *, columns: Collection[str] | None = ()
) -> Iterator[tuple[Part, PartRows]]:
    """Read parts, in their order; only one is in memory.

    Args:
        parts: Of one plan.
        rows_per_part: Of that plan.
        columns: That are needed beside the texts, where the format lets others be passed over; None: all.

    Raises:
        FileJudgingError: A file is no longer as it was.
        RawTableError: A file cannot be read any more.
    """
    needed = None if columns is None else {*TEXT_COLUMNS, *columns}
    by_file: dict[InputFile, dict[int, Part]] = defaultdict(dict)
    for part in parts:
        by_file[part.file][part.number_in_file] = part
    for file, wanted in by_file.items():
        file.require_unchanged()
        last, num_come = max(wanted), 0
        for number, frame in stream_frames(
            file.path, rows_per_part, required=TEXT_COLUMNS, wanted=wanted, columns=needed
        ):
            if len(frame) != wanted[number].num_rows:
                break
            yield wanted[number], PartRows(frame, file)
            num_come += 1
            if number == last:
                break
        file.require_unchanged()
        if num_come < len(wanted):
            raise FileJudgingError(f"{file.path} has lost rows while it was judged; give the command again")
