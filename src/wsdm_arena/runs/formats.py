"""Numbers of the code's versions: what a fingerprint knows of the code that computed a result.

Whoever changes what one of these kinds of work computes, raises its number here, and older results are not taken for
current ones: neither in their own directories nor in the ledger. A git commit would not do in its place: most commits
change no result, and a data folder may be used by two clones. What costs seconds is named by its code instead.
"""

from collections.abc import Callable
from typing import Any, TypeVar

TRAINING_FORMAT = 1
"""A training: checkpoint and held-out predictions."""
SCORING_FORMAT = 1
"""The scoring of a whole table."""
TOKENS_FORMAT = 2
"""A token table."""
BACKBONE_FORMAT = 3
"""An imported backbone."""
PACKAGED_MODEL_FORMAT = 2
"""A packaged language model, dequantised."""
BUNDLE_FORMAT = 2
"""An exported judge."""
ANSWERS_FORMAT = 1
"""Answers of a model."""
GENERATED_PAIRS_FORMAT = 2
"""Pairs of answers; since 2 without white space around them."""

Function = TypeVar("Function", bound=Callable[..., Any])

_ATTRIBUTE = "__result_format__"


def result_format(*numbers: int | str) -> Callable[[Function], Function]:
    """Number the results of a node function: nodes of functions with other numbers than before run again.

    Args:
        numbers: Of the kinds of work that the function does, and one of its own where it computes something itself; or
            what :func:`wsdm_arena.runs.source_code.source_digest` gives.

    Example:
        >>> @result_format(TOKENS_FORMAT)
        ... def tokenize(table): ...
    """

    def mark(function: Function) -> Function:
        setattr(function, _ATTRIBUTE, ".".join(map(str, numbers)))
        return function

    return mark


def result_format_of(function: Callable[..., Any]) -> str:
    """Numbers of a node function's results, with dots between; ``1`` where nobody has given it any."""
    return str(getattr(function, _ATTRIBUTE, "1"))
