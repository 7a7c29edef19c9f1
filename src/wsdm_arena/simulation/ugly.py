"""The rows that real data has and nobody expects."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from wsdm_arena.simulation.battle import Battle
from wsdm_arena.simulation.draws import Weighted, pick

UglyReason = Literal[
    "null_response",
    "empty_response",
    "identical_responses",
    "null_prompt",
    "empty_prompt",
    "huge_text",
    "control_tokens",
    "null_bytes",
    "odd_unicode",
    "repeated_vote",
    "repeated_prompt",
]

UGLY_WEIGHTS: dict[UglyReason, float] = {
    "null_response": 0.10,
    "empty_response": 0.10,
    "identical_responses": 0.08,
    "null_prompt": 0.02,
    "empty_prompt": 0.05,
    "huge_text": 0.08,
    "control_tokens": 0.15,
    "null_bytes": 0.05,
    "odd_unicode": 0.12,
    "repeated_vote": 0.15,
    "repeated_prompt": 0.10,
}
"""Shares among the ugly rows."""

CONTROL_TOKENS = (
    "<bos>",
    "<eos>",
    "<pad>",
    "<start_of_turn>model\n",
    "<end_of_turn>\n<start_of_turn>user\n",
    "<|begin_of_text|>",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|endoftext|>",
    "</s>",
    "[[A]]",
    "verdict is: [[B]]",
    "### Assistant A:\n",
)
NULL_BYTES = ("\x00", "\x00\x00\x00")
ODD_UNICODE = (
    "\ufeff",  # byte order mark
    "\u200b\u200d",  # zero-width space and joiner
    "\u202e",  # right-to-left override
    "\ufffd\ufffd",  # what a wrong decoder leaves
    "e\u0301\u0323\u0334",  # stacked combining marks
    "\U0001f469\u200d\U0001f680",  # emoji of several code points
    "\u0085\u2028",  # line ends that only some readers see
    "\x07\x1b[31m",  # terminal escapes
    "\ufdd0",  # a noncharacter
)

_REASONS = Weighted(UGLY_WEIGHTS)
_SHORTEST_HUGE, _LONGEST_HUGE, _LONGEST_EVER = 5_000, 100_000, 1_000_000
"""Characters."""
_LONGEST_EVER_RATE = 0.02
_FIELDS = ("prompt", "response_a", "response_b")


def draw_ugly_reason(rng: np.random.Generator) -> UglyReason:
    """Draw what is wrong with a row."""
    return _REASONS.pick(rng)


def spoil(rng: np.random.Generator, battle: Battle, reason: UglyReason) -> Battle:
    """Spoil one battle's texts; its flaws follow where a voter would notice.

    ``repeated_vote`` and ``repeated_prompt`` need another battle and change nothing here.
    """
    return replace(_SPOILERS.get(reason, _leave)(rng, battle), ugly_reason=reason)


def repeat_text(rng: np.random.Generator, text: str) -> str:
    """Repeat a text, most often up to some thousand characters, rarely up to a million."""
    num_characters = _LONGEST_EVER
    if rng.random() >= _LONGEST_EVER_RATE:
        num_characters = round(np.exp(rng.uniform(np.log(_SHORTEST_HUGE), np.log(_LONGEST_HUGE))))
    return ((text + " ") * (num_characters // (len(text) + 1) + 1))[:num_characters]


def insert_string(rng: np.random.Generator, text: str, strings: tuple[str, ...]) -> str:
    """Put one of the strings at a random place of a text."""
    position = int(rng.integers(len(text) + 1))
    return text[:position] + pick(rng, strings) + text[position:]


def _leave(rng: np.random.Generator, battle: Battle) -> Battle:
    return battle


def _lose_response(rng: np.random.Generator, battle: Battle, text: str | None) -> Battle:
    sides = pick(rng, (("a",), ("b",), ("a",), ("b",), ("a", "b")))
    changes = {f"response_{side}": text for side in sides} | {f"flaw_{side}": "missing" for side in sides}
    return replace(battle, **changes)  # type: ignore[arg-type]


def _make_null_response(rng: np.random.Generator, battle: Battle) -> Battle:
    return _lose_response(rng, battle, None)


def _make_empty_response(rng: np.random.Generator, battle: Battle) -> Battle:
    return _lose_response(rng, battle, pick(rng, ("", "", " ", "\n\n")))


def _make_identical(rng: np.random.Generator, battle: Battle) -> Battle:
    return replace(battle, response_b=battle.response_a, flaw_b=battle.flaw_a)


def _make_null_prompt(rng: np.random.Generator, battle: Battle) -> Battle:
    return replace(battle, prompt=None)


def _make_empty_prompt(rng: np.random.Generator, battle: Battle) -> Battle:
    return replace(battle, prompt=pick(rng, ("", "", " ", "\n")))


def _make_huge(rng: np.random.Generator, battle: Battle) -> Battle:
    """Make one of the texts huge; in an answer a voter finds that needless."""
    field = pick(rng, _FIELDS)
    changes: dict[str, Any] = {field: repeat_text(rng, getattr(battle, field))}
    flaw_field = f"flaw_{field[-1]}"
    if field != "prompt" and getattr(battle, flaw_field) == "none":
        changes[flaw_field] = "needless_length"
    return replace(battle, **changes)


def _insert(rng: np.random.Generator, battle: Battle, strings: tuple[str, ...]) -> Battle:
    """Put a string into one of the texts."""
    field = pick(rng, _FIELDS)
    changes: dict[str, Any] = {field: insert_string(rng, getattr(battle, field), strings)}
    return replace(battle, **changes)


def _insert_control_tokens(rng: np.random.Generator, battle: Battle) -> Battle:
    return _insert(rng, battle, CONTROL_TOKENS)


def _insert_null_bytes(rng: np.random.Generator, battle: Battle) -> Battle:
    return _insert(rng, battle, NULL_BYTES)


def _insert_odd_unicode(rng: np.random.Generator, battle: Battle) -> Battle:
    return _insert(rng, battle, ODD_UNICODE)


_SPOILERS: dict[UglyReason, Callable[[np.random.Generator, Battle], Battle]] = {
    "null_response": _make_null_response,
    "empty_response": _make_empty_response,
    "identical_responses": _make_identical,
    "null_prompt": _make_null_prompt,
    "empty_prompt": _make_empty_prompt,
    "huge_text": _make_huge,
    "control_tokens": _insert_control_tokens,
    "null_bytes": _insert_null_bytes,
    "odd_unicode": _insert_odd_unicode,
}
