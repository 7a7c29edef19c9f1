"""Where commands print tables."""

from rich.console import Console

_WIDTH = 160
"""Characters a line where there is no terminal: whole tables in a file or a pipe."""


def wide_console() -> Console:
    """As wide as the terminal; texts are printed as they are, whatever brackets they hold."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=_WIDTH)
