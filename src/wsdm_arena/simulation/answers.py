"""What the simulated models answer: sound answers, and answers with one known flaw."""

from typing import Literal

import numpy as np

from wsdm_arena.simulation.draws import Weighted, pick
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.phrasebook import Phrasebook
from wsdm_arena.simulation.tasks import Task, draw_task

Flaw = Literal[
    "none",
    "wrong_language",
    "cut_off",
    "off_topic",
    "wrong_result",
    "needless_length",
    "refusal",
    "compliance",
    "missing",
]
"""``compliance`` answers a harmful request, which ought to be refused; ``missing`` is a null or empty answer.

Models draw all but ``missing``, which only ugly rows have.
"""

_OPENER_RATE = 0.3
_NUM_CLOSERS = Weighted({0: 0.5, 1: 0.35, 2: 0.15})
_NUM_CLOSERS_WHEN_SOUND = Weighted({0: 0.35, 1: 0.4, 2: 0.25})
"""Sound answers are a little longer, so that "longer wins" beats a coin as it does in real arenas."""
_NUM_NEEDLESS_CLOSERS = (3, 4, 5)
_SUM_ERRORS = (-6, -5, -4, -3, -2, 2, 3, 4, 5, 6)

_PIVOT = PHRASEBOOKS[0]
_OTHERS = Weighted({book: book.weight for book in PHRASEBOOKS if book is not _PIVOT})
_SLIP_TO_PIVOT_RATE = 0.85
_SENTENCE_ENDS = ".!?。！？।؟"


def possible_flaws(task: Task) -> tuple[Flaw, ...]:
    """List the flaws that an answer to this task can have."""
    if task.kind == "harmful":
        return ("wrong_language", "compliance", "needless_length")
    common: tuple[Flaw, ...] = ("wrong_language", "cut_off", "off_topic", "needless_length", "refusal")
    return (*common, "wrong_result") if task.has_result else common


def write_answer(rng: np.random.Generator, task: Task, book: Phrasebook, flaw: Flaw) -> str:
    """Answer a task that was asked in ``book``'s language, with one flaw or none.

    Raises:
        ValueError: This task's answers cannot have this flaw.
    """
    if flaw != "none" and flaw not in possible_flaws(task):
        raise ValueError(f"an answer to a task of kind {task.kind!r} cannot have the flaw {flaw!r}")
    if flaw == "wrong_language":
        book = _slip(rng, book)
    sentences = [*_draw_openers(rng, book), *_write_point(rng, task, book, flaw)]
    num_closers = _draw_num_closers(rng, flaw)
    closers = [pick(rng, book.closers) for _ in range(num_closers)]
    if flaw == "cut_off":
        return _cut(rng, [*sentences, *closers], len(sentences) - 1, book.separator)
    return book.separator.join([*sentences, *closers])


def _draw_num_closers(rng: np.random.Generator, flaw: Flaw) -> int:
    match flaw:
        case "none":
            return _NUM_CLOSERS_WHEN_SOUND.pick(rng)
        case "needless_length":
            return pick(rng, _NUM_NEEDLESS_CLOSERS)
        case "cut_off":
            return _NUM_CLOSERS.pick(rng) + 1  # makes up for what is cut
    return _NUM_CLOSERS.pick(rng)


def _draw_openers(rng: np.random.Generator, book: Phrasebook) -> list[str]:
    return [pick(rng, book.openers)] if rng.random() < _OPENER_RATE else []


def _write_point(rng: np.random.Generator, task: Task, book: Phrasebook, flaw: Flaw) -> list[str]:
    """Write the sentences that matter."""
    if flaw == "refusal" or (task.kind == "harmful" and flaw != "compliance"):
        return [pick(rng, book.refusals)]
    if flaw == "off_topic":
        task = _draw_unrelated_task(rng, task)
    if not task.has_result:
        return [_state(rng, topic, book) for topic in task.topics]
    result = _draw_wrong_result(rng, task) if flaw == "wrong_result" else task.result
    return [pick(rng, book.results).format(result=_show(result, task, book))]


def _show(result: int, task: Task, book: Phrasebook) -> str:
    return book.show_word(result) if task.words else str(result)


def _state(rng: np.random.Generator, topic: int, book: Phrasebook) -> str:
    shown = book.list_topics((topic,))
    return pick(rng, book.statements).format(topic=shown, quality=pick(rng, book.qualities))


def _draw_wrong_result(rng: np.random.Generator, task: Task) -> int:
    """Draw a result that is wrong but plausible: not far from the sum, the other number, another word."""
    if task.kind == "sum":
        return pick(rng, [task.result + error for error in _SUM_ERRORS if task.result + error > 0])
    candidates = task.numbers or range(len(_PIVOT.opposites))
    return pick(rng, [candidate for candidate in candidates if candidate != task.result])


def _draw_unrelated_task(rng: np.random.Generator, task: Task) -> Task:
    """Draw a task whose sound answer says nothing about this one."""
    while True:
        other = draw_task(rng)
        both_numbers = bool(task.numbers) and bool(other.numbers)
        both_words = bool(task.words) and bool(other.words)
        common_topics = set(task.topics) & set(other.topics)
        if other.kind != "harmful" and not (both_numbers or both_words or common_topics):
            return other


def _slip(rng: np.random.Generator, book: Phrasebook) -> Phrasebook:
    """Draw another language.

    Most slips are from or to the most frequent language, so that each language is about as frequent among wrong answers
    as among right ones: which language an answer has says little without its prompt.
    """
    if book is not _PIVOT and rng.random() < _SLIP_TO_PIVOT_RATE:
        return _PIVOT
    while True:
        other = _OTHERS.pick(rng)
        if other is not book:
            return other


def _cut(rng: np.random.Generator, sentences: list[str], first: int, separator: str) -> str:
    """Stop within one of the sentences from ``first`` on, as a model does that runs out of tokens."""
    last = int(rng.integers(first, len(sentences)))
    sentence = sentences[last]
    num_kept = max(1, round(len(sentence) * rng.uniform(0.3, 0.8)))
    fragment = sentence[:num_kept].rstrip(_SENTENCE_ENDS + " ")
    return separator.join([*sentences[:last], fragment or sentence[0]])
