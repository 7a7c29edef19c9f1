"""How commands print: tables and counts for people, JSON for machines."""

import json
import sys
from typing import Any, NoReturn

import click
from pydantic import BaseModel
from rich.console import Console

_LEAST_WIDTH = 120
_WIDTH = 160
"""Characters a line where there is no terminal: whole tables in a file or a pipe."""
_INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C has ended."""


def wide_console() -> Console:
    """As wide as the terminal, but wide enough for our tables; texts are printed as they are, brackets and all."""
    terminal = Console(highlight=False, markup=False, emoji=False)
    if terminal.is_terminal and terminal.width >= _LEAST_WIDTH:
        return terminal
    width = _LEAST_WIDTH if terminal.is_terminal else _WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def print_json(content: Any) -> None:
    """Print one JSON document, indented; objects of pydantic are written as their fields."""
    click.echo(json.dumps(content, indent=2, default=_plain))


def print_json_line(content: Any) -> None:
    """Print one JSON document on a line, where a command prints many."""
    click.echo(json.dumps(content, default=_plain))


def stop_resumable(where: str = "where it was") -> NoReturn:
    """End a command that Ctrl-C has stopped and that keeps what it has done."""
    click.echo(f"Stopped. The same command goes on {where}.", err=True)
    sys.exit(_INTERRUPTED)


def count(number: int, noun: str) -> str:
    """``1 node``, ``2 nodes``, ``0 directories``."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON")
