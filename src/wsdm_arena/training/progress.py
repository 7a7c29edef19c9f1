"""How far a long stage is: a bar where there is a terminal, else a line from time to time."""

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0


class StageProgress:
    """Progress of one stage on stderr.

    Use it as a context; on ranks other than the first it is silent.

    Args:
        name: Stage and judge, such as "teacher.llama".
        unit: What is counted.
        total: How many there are.
        completed: How many of them are already done.
        is_shown: False for silence.
    """

    def __init__(self, name: str, unit: str, total: int, *, completed: int = 0, is_shown: bool = True) -> None:
        self.name = name
        self.unit = unit
        self.total = total
        self.completed = completed
        self._is_shown = is_shown
        self._first = completed
        self._started = self._last_logged = time.monotonic()
        self._bar: Progress | None = None
        self._details = ""

    def __enter__(self) -> Self:
        """Show the bar, if stderr is a terminal."""
        if self._is_shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[details]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                refresh_per_second=2,
            )
            self._task = self._bar.add_task(
                f"{self.name} {self.unit}", total=self.total, completed=self.completed, details=""
            )
            self._bar.start()
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1, details: Mapping[str, str] | None = None) -> None:
        """Count what was done; ``details`` are shown beside the bar as ``name value``."""
        self.completed += steps
        if not self._is_shown:
            return
        text = " ".join(f"{key} {value}" for key, value in (details or {}).items())
        if self._bar is not None:
            self._details = text or self._details
            self._bar.update(self._task, completed=self.completed, details=self._details)
        elif time.monotonic() - self._last_logged >= LOG_INTERVAL_S:
            self._last_logged = time.monotonic()
            counted = f"{self.completed:,}/{self.total:,}"
            logger.info("%s %s %s", self.name, self.unit, ", ".join(filter(None, [counted, text, self._time_left()])))

    def _time_left(self) -> str:
        done = self.completed - self._first
        if done <= 0:
            return ""
        left = (time.monotonic() - self._started) / done * (self.total - self.completed)
        return f"{int(left // 60)}:{int(left % 60):02d} left"


def memory_bytes(device: torch.device) -> int:
    """Most memory this process has held on its GPU so far, or what it holds now in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
