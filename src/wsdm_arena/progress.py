"""One line that shows how far the work is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """Draw a progress bar while the context is open, from the first news on: nothing to do shows nothing.

    Yields:
        What to call with the number done and of all; None while the latter is unknown.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(description, total=None)

    def update(num_done: int, num_all: int | None) -> None:
        bar.start()
        bar.update(task, completed=num_done, total=num_all)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()
