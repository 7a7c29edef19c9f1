"""Where the commands print."""

from rich.console import Console

_LEAST_WIDTH = 120


def make_console() -> Console:
    """A console whose tables are not squeezed: a narrow terminal, or a pipe, gets lines of 120 characters."""
    console = Console()
    return console if console.width >= _LEAST_WIDTH else Console(width=_LEAST_WIDTH)
