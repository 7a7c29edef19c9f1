"""How far long work is: a bar where stderr is a terminal, else a line in the log from time to time.

One interface for every place that works long, in this process or in one that torchrun has started::

    with show_progress("teacher.gemma tokens of battles") as progress:
        for number, battle in enumerate(battles):
            ...
            progress(number + 1, len(battles))

Work that ends within :data:`SHOWN_AFTER_S` shows nothing. In the log it reads::

    teacher.gemma tokens of battles: 4,096 of 10,500 (39 %), 12 s left
    teacher.gemma tokens of battles: 10,500 of 10,500 (100 %), took 20 s

All bars of a process are rows of one live display, through which its log lines go as long as it is there, so that
neither tears the other.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:  # rich is loaded where a bar is drawn
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

logger = logging.getLogger(__name__)

SHOWN_AFTER_S = 2.0
"""Work that is shorter is not shown."""
LINE_EVERY_S = 10.0
"""Least time between two lines of the log, the last one aside."""
LINE_EVERY_SHARE = 0.1
"""A line is due when this much more of the work is done, or after :data:`LINE_AT_LATEST_S`."""
LINE_AT_LATEST_S = 60.0

_REFRESH_PER_S = 4


class Progress:
    """One piece of work; call it with the number done and of all.

    Made by :func:`show_progress`.

    Args:
        description: What is done or counted, such as "student.llama updates".
        done: What was done before, in an earlier run; times are estimated from what comes.
        total: Number of all; None while unknown.
        clock: Seconds, from any origin.
    """

    def __init__(
        self, description: str, *, done: int = 0, total: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.description = description
        self.done = self._done_before = done
        self.total = total
        self.details = ""
        self._clock = clock
        self._started = self._last_line = clock()
        self._done_at_last_line = done
        self._has_news = self._has_lines = False
        self._row: TaskID | None = None

    def __call__(self, done: int, total: int | None = None, details: str | None = None) -> None:
        """Say how far the work is.

        Args:
            done: So far, what was done before included.
            total: Of all; None: what was said last, or not yet known.
            details: Shown beside the numbers until others come, such as a loss.
        """
        self.done = done
        self.total = self.total if total is None else total
        self.details = self.details if details is None else details
        self._has_news = True
        self._show()

    def advance(self, steps: int = 1, details: str | None = None) -> None:
        """Say that so many more are done."""
        self(self.done + steps, details=details)

    def _show(self) -> None:
        elapsed = self._clock() - self._started
        if _is_hidden:
            return
        if is_terminal():
            if self._row is None and elapsed >= SHOWN_AFTER_S:
                self._row = _bars.add(self)
            if self._row is not None:
                _bars.update(self._row, self)
        elif self._is_line_due():
            self._log(self._remaining(elapsed))

    def _begin(self, *, at_once: bool) -> None:
        if at_once and not _is_hidden and is_terminal():
            self._row = _bars.add(self)

    def _end(self, *, ended_well: bool) -> None:
        if self._row is not None:
            _bars.close(self._row)
            return
        took = self._clock() - self._started
        is_worth_a_line = self._has_lines or (self._has_news and took >= SHOWN_AFTER_S)
        if is_worth_a_line and not _is_hidden and not is_terminal():
            self._log(f"{'took' if ended_well else 'broke off after'} {show_duration(took)}")

    def _is_line_due(self) -> bool:
        if self.total and self.done >= self.total:
            return False  # the last line is about to come
        since = self._clock() - self._last_line
        share = (self.done - self._done_at_last_line) / self.total if self.total else 0.0
        return since >= LINE_AT_LATEST_S or (since >= LINE_EVERY_S and share >= LINE_EVERY_SHARE)

    def _remaining(self, elapsed: float) -> str:
        done = self.done - self._done_before
        if not self.total or done <= 0:
            return f"{show_duration(elapsed)} so far"
        return f"{show_duration(max(elapsed / done * (self.total - self.done), 0.0))} left"

    def _log(self, time_shown: str) -> None:
        self._last_line, self._done_at_last_line, self._has_lines = self._clock(), self.done, True
        logger.info("%s: %s", self.description, ", ".join(filter(None, [self._count(), self.details, time_shown])))

    def _count(self) -> str:
        if not self.total:
            return f"{self.done:,}"
        return f"{self.done:,} of {self.total:,} ({min(100 * self.done // self.total, 100)} %)"


@contextmanager
def show_progress(
    description: str,
    *,
    done: int = 0,
    total: int | None = None,
    at_once: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show how far a piece of work is while the context is open, from the first news on.

    Args:
        description: What is done or counted.
        done: What was done before.
        total: Number of all, where it is known beforehand.
        at_once: Whether a terminal shows the bar before the first news: for work that is known to be long.
        clock: Seconds, from any origin.

    Yields:
        What to call with the number done and of all; the latter may be None while it is unknown.
    """
    progress = Progress(description, done=done, total=total, clock=clock)
    ended_well = False
    with _bars.announced():
        try:
            progress._begin(at_once=at_once)
            yield progress
            ended_well = True
        finally:
            progress._end(ended_well=ended_well)


def hide_progress(is_hidden: bool = True) -> None:
    """Show nothing in this process from now on: of several that share the work only the first one shows."""
    global _is_hidden
    _is_hidden = is_hidden


def is_terminal() -> bool:
    """Whether somebody watches stderr on a terminal that can redraw a line."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def may_draw_bars() -> bool:
    """Whether a bar of this process is on the terminal or may come: then nobody may write there past it."""
    return _bars.num_announced > 0 and is_terminal() and not _is_hidden


def show_duration(seconds: float) -> str:
    """Write a time for people.

    Example:
        >>> [show_duration(s) for s in (0.4, 72, 7_500, 200_000)]
        ['0 s', '1 min 12 s', '2 h 05 min', '2 d 07 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1_440} d {minutes % 1_440 // 60:02d} h"


class _Bars:
    """The live display of this process: a row for each piece of work that is under way.

    Attributes:
        num_announced: Pieces of work that are under way, also those that are not shown yet.
    """

    def __init__(self) -> None:
        self.num_announced = 0
        self._lock = RLock()
        self._live: RichProgress | None = None
        self._redirected: list[tuple[logging.StreamHandler[Any], TextIO]] = []

    @contextmanager
    def announced(self) -> Iterator[None]:
        with self._lock:
            self.num_announced += 1
        try:
            yield
        finally:
            with self._lock:
                self.num_announced -= 1

    def add(self, progress: Progress) -> "TaskID":
        with self._lock:
            if self._live is None:
                self._live = self._start()
            row = self._live.add_task(progress.description, total=progress.total, details="")
            self._live.update(row, completed=progress.done)
            return row

    def update(self, row: "TaskID", progress: Progress) -> None:
        with self._lock:
            if self._live is not None:
                self._live.update(row, completed=progress.done, total=progress.total, details=progress.details)

    def close(self, row: "TaskID") -> None:
        """Leave the last row as it is and take the others away, or a hundred files would leave a hundred rows."""
        with self._lock:
            if self._live is None:
                return
            if len(self._live.task_ids) > 1:
                self._live.remove_task(row)
                return
            for handler, stream in self._redirected:
                handler.setStream(stream)
            self._redirected = []
            self._live.stop()
            self._live = None

    def _start(self) -> "RichProgress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        streams = (sys.stdout, sys.stderr)
        live = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[details]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=_REFRESH_PER_S,
        )
        live.start()  # puts itself in the place of sys.stderr, but loggers know the old one
        for handler in _stream_handlers():
            if handler.stream in streams:
                self._redirected.append((handler, handler.stream))
                handler.setStream(sys.stderr)
        return live


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for each in loggers:
        if isinstance(each, logging.Logger):  # else the name of a parent that nobody has asked for
            yield from (handler for handler in each.handlers if isinstance(handler, logging.StreamHandler))


_bars = _Bars()
_is_hidden = False
