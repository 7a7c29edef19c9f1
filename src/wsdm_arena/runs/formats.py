"""Numbers of the code's versions: what a fingerprint knows of the code that computed a result."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_ATTRIBUTE = "__result_format__"


def result_format(number: int) -> Callable[[Function], Function]:
    """Number the results of a node function; whoever changes what it computes, raises it.

    Nodes of functions with another number than before run again. A git commit would not do in its place: most commits
    change no result, and a data folder may be used by two clones.

    Example:
        >>> @result_format(2)
        ... def count(table): ...
    """

    def mark(function: Function) -> Function:
        setattr(function, _ATTRIBUTE, number)
        return function

    return mark


def result_format_of(function: Callable[..., Any]) -> int:
    """Number of a node function's results: 1 where nobody has changed them yet."""
    return int(getattr(function, _ATTRIBUTE, 1))
