"""Where commands print tables."""

from rich.console import Console

_LEAST_WIDTH = 120
_WIDTH = 160
"""Characters a line where there is no terminal: whole tables in a file or a pipe."""


def wide_console() -> Console:
    """As wide as the terminal, but wide enough for our tables; texts are printed as they are, brackets and all."""
    terminal = Console(highlight=False, markup=False, emoji=False)
    if terminal.is_terminal and terminal.width >= _LEAST_WIDTH:
        return terminal
    width = _LEAST_WIDTH if terminal.is_terminal else _WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)
