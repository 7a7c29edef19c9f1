"""Values and lists in messages, cut where they would be too long to read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MOST_CHARACTERS = 60


def show_value(value: Any) -> str:
    """A JSON value on one line, cut after 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def show_first(items: Sequence[str], most: int, *, separator: str = ", ", noun: str = "") -> str:
    """Join the first of many, and say how many more there are.

    Example:
        >>> show_first(["a", "b", "c", "d"], 2), show_first(["a", "b", "c"], 2, separator="; ", noun="reason")
        ('a, b and 2 more', 'a; b; and 1 more reason')
    """
    shown = separator.join(items[:most])
    if len(items) <= most:
        return shown
    joint = " " if separator == ", " else separator
    return f"{shown}{joint}{count_more(len(items) - most, noun)}"


def count_more(number: int, noun: str = "") -> str:
    """``and 2 more nodes``."""
    named = f" {noun}{'' if number == 1 else 's'}" if noun else ""
    return f"and {number} more{named}"


def leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Values of nested mappings by their path, in their order; an empty mapping within is a value.

    Example:
        >>> leaves({"training": {"epochs": 1, "rates": {"head": 0.1}}, "options": {}})
        {'training.epochs': 1, 'training.rates.head': 0.1, 'options': {}}
    """
    return dict(leaf for key, value in tree.items() for leaf in _leaves(str(key), value))


def _leaves(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    else:
        yield path, value
