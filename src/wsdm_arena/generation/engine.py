"""What an engine is: it takes prompts and hands back answers, one by one, as they come."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from wsdm_arena.config.generation import AnswerModelConfig, GenerationConfig
from wsdm_arena.errors import UserError

FinishReason = Literal["stop", "length", "error"]

_SEED_BITS = 31  # what every engine and endpoint takes


class EngineError(RuntimeError):
    """An engine stopped before every request had its answer; the message says why, with its last words."""


class EngineConfigError(UserError, ValueError):
    """An engine cannot work as it is configured; raised before any request is sent, by any engine."""


@dataclass(frozen=True)
class AnswerRequest:
    """One prompt for one answer model.

    Attributes:
        request_id: Key of the answer.
        prompt: The only turn of the user; any text but half surrogate pairs.
        seed: Of every draw of this answer, ``0 <= seed < 2**31``; see :func:`request_seed`.
    """

    request_id: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        request_id: Of the request.
        text: As generated, reasoning included; None exactly if it failed.
        finish_reason: ``stop``: the model ended it; ``length``: it was cut off; ``error``: there is none.
        error: Why it failed; None exactly if it did not.
    """

    request_id: str
    text: str | None
    finish_reason: FinishReason
    error: str | None = None


class AnswerEngine(Protocol):
    """An answer model that is ready to answer."""

    def answer(self, requests: Sequence[AnswerRequest], on_answer: Callable[[Answer], None]) -> None:
        """Answer every request exactly once, in any order.

        Args:
            requests: At least one; their ids are distinct.
            on_answer: Called with each answer as soon as it is there, by one thread at a time. What it raises
                stops the engine and is raised by this function.

        Raises:
            EngineError: The engine died or never started; the requests without an answer are the caller's to handle.
        """
        ...


EngineFactory = Callable[[str, AnswerModelConfig, GenerationConfig], AbstractContextManager[AnswerEngine]]
"""Makes the engine of an answer model, given its name. Called before any request of any model is sent, so it checks
what it can (:class:`EngineConfigError`) and starts nothing; entering the context may."""


def request_seed(generation_seed: int, request_id: str) -> int:
    """Draw the seed of a request, the same on every machine; whatever else is asked for has no influence.

    Returns:
        ``0 <= seed < 2**31``.
    """
    digest = hashlib.blake2b(f"{generation_seed}:{request_id}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _SEED_BITS)
