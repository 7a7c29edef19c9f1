"""One line that shows how far the work is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """Draw a progress bar while the context is open.

    Yields:
        What to call with the number done and of all; None while the latter is unknown.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None)

        def update(num_done: int, num_all: int | None) -> None:
            bar.update(task, completed=num_done, total=num_all)

        yield update
