"""What became of the rows of a command's files: counted, listed, and summed up in a line."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsdm_arena.judging.files.parts import PartRows
from wsdm_arena.preferences.raw_rows import FAULT_COLUMN, replace_surrogates
from wsdm_arena.preferences.row_report import MAX_LISTED_ROWS

UNREADABLE = "the row cannot be read"
NO_LOGITS = "no judge gave finite logits"
NO_TIME = "the time was over before a judge read it"
BY_LENGTH = "no judge read it: the longer answer wins"


@dataclass(frozen=True)
class FileSummary:
    """How the judging of files ended.

    Attributes:
        output: Where the verdicts are.
        report_file: Where the rows without a verdict are listed.
        num_rows: Of the files that were judged.
        winners: Rows by winner.
        without_verdict: Rows that no judge has read, by reason.
        read_by: Rows by the judges that read them; empty with one judge.
        left_out: Files that were not judged, and why.
        num_rows_read_now: Rows that this call has read, by judge; the others were read before it.
        seconds: Wall clock of this call.
        seconds_reading: Of these, how long judges read, imports, loading and writing aside.
        num_repaired: Rows by what was repaired of their texts.
        kept: Where readings are kept for another call, as the time was over before all was read; None: all was.
    """

    output: Path
    report_file: Path
    num_rows: int
    winners: dict[str, int]
    without_verdict: dict[str, int]
    read_by: dict[str, int]
    left_out: dict[str, str]
    num_rows_read_now: dict[str, int]
    seconds: float
    seconds_reading: float = 0.0
    kept: Path | None = None
    num_repaired: dict[str, int] = field(default_factory=dict)

    def to_line(self) -> str:
        """Sum up in one line."""
        lacking = sum(self.without_verdict.values())
        judged = self.num_rows - lacking
        shares = [f"{name} {count / max(sum(self.winners.values()), 1):.1%}" for name, count in self.winners.items()]
        read = sum(self.num_rows_read_now.values())
        speed = f", {read / self.seconds_reading:.0f} rows/s" if read and self.seconds_reading > 0 else ""
        parts = [
            f"{judged:,} of {self.num_rows:,} rows judged in {self.seconds:.0f} s{speed}",
            *([f"winners: {', '.join(shares)}"] if shares else []),
            *(
                [f"read by {', '.join(f'{who}: {count:,}' for who, count in self.read_by.items())}"]
                * bool(self.read_by)
            ),
            *([f"{lacking:,} without a judge's verdict, see {self.report_file}"] * bool(lacking)),
            *(f"repaired: {what} ({count:,} rows)" for what, count in self.num_repaired.items()),
            *([f"the time was over; the same command goes on with {self.kept}"] * (self.kept is not None)),
            *([f"left out: {', '.join(self.left_out)}"] * bool(self.left_out)),
        ]
        return replace_surrogates(f"{'; '.join(parts)}. Verdicts: {self.output}")


class FileReport:
    """Sums up the reports of parts; lists at most :data:`~wsdm_arena.preferences.row_report.MAX_LISTED_ROWS` rows."""

    def __init__(self) -> None:
        self.winners: Counter[str] = Counter()
        self.without_verdict: Counter[str] = Counter()
        self.read_by: Counter[str] = Counter()
        self._repaired: Counter[str] = Counter()
        self._rows_by_file: Counter[str] = Counter()
        self._listed: list[dict[str, Any]] = []
        self._num_unlisted = 0

    def add(self, rows: PartRows, reasons: npt.NDArray[np.object_], winners: npt.NDArray[np.object_]) -> None:
        """Count a part.

        Args:
            rows: Its rows; what was repaired of them is told by their report.
            reasons: ``(N,)``, why a row has no verdict by a judge; None where it has.
            winners: ``(N,)``; None where there is none.
        """
        self.winners.update(name for name in winners.tolist() if name is not None)
        self.without_verdict.update(reason for reason in reasons.tolist() if reason is not None)
        for reason in sorted({reason for reason in reasons.tolist() if reason is not None}):
            faults = rows.frame[FAULT_COLUMN].tolist() if reason == UNREADABLE else None
            rows.report.drop(reasons == reason, reason, faults)
        told = rows.report.to_dict()
        self._repaired.update(told["repaired"])
        self._rows_by_file.update(told["rows_by_file"])
        room = MAX_LISTED_ROWS - len(self._listed)
        listed = [row | {"outcome": "no verdict"} if row["outcome"] == "dropped" else row for row in told["rows"]]
        self._listed += listed[:room]
        self._num_unlisted += told["rows_not_listed"] + len(listed[room:])

    @property
    def num_repaired(self) -> dict[str, int]:
        """Rows by what was repaired of their texts, the most frequent first."""
        return dict(self._repaired.most_common())

    def to_dict(self, summary: FileSummary) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "summary": summary.to_line(),
            "output": replace_surrogates(str(summary.output)),
            "num_rows": summary.num_rows,
            "rows_by_file": dict(self._rows_by_file),
            "files_left_out": summary.left_out,
            "winners": summary.winners,
            "read_by": summary.read_by,
            "without_verdict": summary.without_verdict,
            "repaired": summary.num_repaired,
            "rows": self._listed,
            "rows_not_listed": self._num_unlisted,
        }
