"""What the users of single models say: new things, what others said before, and hardly anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from wsdm_arena.simulation.draws import Weighted, pick
from wsdm_arena.simulation.known_prompts import KnownPrompt, draw_prompt
from wsdm_arena.simulation.phrasebook import Phrasebook
from wsdm_arena.simulation.ugly import CONTROL_TOKENS, NULL_BYTES, ODD_UNICODE, insert_string, repeat_text

UNKNOWN_LANGUAGE = "unknown"
"""What lmsys-chat-1m writes where the language could not be told."""
SHORT_PROMPTS = ("hi", "Hi", "hello", "test", "?", "ok")

Start = Literal["new", "known", "short", "repeated", "same_first_turn"]
START_WEIGHTS: dict[Start, float] = {
    "new": 0.83,
    "known": 0.03,
    "short": 0.04,
    "repeated": 0.05,
    "same_first_turn": 0.05,
}
"""How conversations begin: ``known`` as a battle, a test pair or a collected pair does, ``repeated`` says all that
another user said, ``same_first_turn`` goes on in another way."""

OddReason = Literal[
    "short", "empty_prompt", "empty_response", "huge_text", "control_tokens", "null_bytes", "odd_unicode"
]
SPOIL_WEIGHTS: dict[OddReason, float] = {
    "empty_prompt": 0.25,
    "empty_response": 0.15,
    "huge_text": 0.10,
    "control_tokens": 0.25,
    "null_bytes": 0.10,
    "odd_unicode": 0.15,
}

_STARTS = Weighted(START_WEIGHTS)
_SPOILS = Weighted(SPOIL_WEIGHTS)
_NUM_LATER_TURNS = Weighted({0: 0.65, 1: 0.20, 2: 0.10, 3: 0.05})
_UNKNOWN_RATE, _SHORT_UNKNOWN_RATE = 0.02, 0.3
"""How often the language could not be told, of very short prompts in the second place."""
_REDACTED_RATE = 0.1
"""Of the conversations of more than one turn; first turns are never redacted."""
_INSERTED: dict[OddReason, tuple[str, ...]] = {
    "control_tokens": CONTROL_TOKENS,
    "null_bytes": NULL_BYTES,
    "odd_unicode": ODD_UNICODE,
}


@dataclass(frozen=True)
class Chat:
    """The user's part of one conversation."""

    turns: tuple[KnownPrompt, ...]
    language: str
    redacted: bool
    odd_reason: OddReason | None = None
    """What is odd about the first turn; but for ``empty_response``, its text is not what its task says."""

    @property
    def first_is_whole(self) -> bool:
        """Whether the first turn asks for what its task says."""
        return self.odd_reason in {None, "empty_response"}


def draw_chat(rng: np.random.Generator, earlier: Sequence[Chat], known: Sequence[KnownPrompt]) -> Chat:
    """Draw what one user says.

    Args:
        rng: Generator.
        earlier: What other users said before.
        known: Prompts of battles, test pairs and collected pairs.
    """
    start = _STARTS.pick(rng)
    if start in {"repeated", "same_first_turn"} and earlier:
        source = pick(rng, earlier)
        if start == "repeated":
            return source
        num_later = max(1, _NUM_LATER_TURNS.pick(rng))
        return replace(source, turns=(source.turns[0], *_draw_later(rng, source.turns[0].book, num_later)))
    first = pick(rng, known) if start == "known" and known else draw_prompt(rng)
    if start == "short":
        first = replace(first, text=pick(rng, (*SHORT_PROMPTS, *first.book.greetings)))
    is_unknown = rng.random() < (_SHORT_UNKNOWN_RATE if start == "short" else _UNKNOWN_RATE)
    later = _draw_later(rng, first.book, _NUM_LATER_TURNS.pick(rng))
    return Chat(
        turns=(first, *later),
        language=UNKNOWN_LANGUAGE if is_unknown else first.book.name,
        redacted=bool(later) and rng.random() < _REDACTED_RATE,
        odd_reason="short" if start == "short" else None,
    )


def spoil_chat(rng: np.random.Generator, chat: Chat) -> Chat:
    """Spoil the first turn, or lose the answer to it."""
    reason = _SPOILS.pick(rng)
    text = chat.turns[0].text
    match reason:
        case "empty_prompt":
            text = pick(rng, ("", "", " ", "\n"))
        case "huge_text":
            text = repeat_text(rng, text)
        case "empty_response":
            if not chat.first_is_whole:
                return chat
        case _:
            text = insert_string(rng, text, _INSERTED[reason])
    return replace(chat, turns=(replace(chat.turns[0], text=text), *chat.turns[1:]), odd_reason=reason)


def _draw_later(rng: np.random.Generator, book: Phrasebook, count: int) -> tuple[KnownPrompt, ...]:
    return tuple(draw_prompt(rng, book) for _ in range(count))
