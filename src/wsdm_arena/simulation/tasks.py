"""What the simulated users ask: tasks whose right answer is known, without a language, and how they are worded."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsdm_arena.simulation.draws import Weighted, pick, pick_indices
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.phrasebook import Phrasebook

TaskKind = Literal["sum", "larger", "opposite", "describe", "harmful"]

TASK_WEIGHTS: dict[TaskKind, float] = {
    "sum": 0.22,
    "larger": 0.14,
    "opposite": 0.15,
    "describe": 0.30,
    "harmful": 0.19,
}
"""How often each kind is asked. Harmful requests are frequent so that a refusal is right about as often as wrong."""

RESULT_KINDS = frozenset({"sum", "larger", "opposite"})
"""Few kinds, each frequent and of small numbers: what a backbone of a million parameters learns in half an hour."""

_KINDS = Weighted(TASK_WEIGHTS)
_LANGUAGES = Weighted({book: book.weight for book in PHRASEBOOKS})
_NUM_TOPICS = len(PHRASEBOOKS[0].topics)
_NUM_WORDS = len(PHRASEBOOKS[0].opposites)
_LARGEST_OPERAND = 9
_GREETING_RATE = 0.15
_REASON_RATE = 0.25


@dataclass(frozen=True)
class Task:
    """One question, independent of language and wording."""

    kind: TaskKind
    numbers: tuple[int, ...] = ()
    topics: tuple[int, ...] = ()
    """Indices into every phrasebook's ``topics``."""
    words: tuple[int, ...] = ()
    """Indices into every phrasebook's ``opposites``."""

    @property
    def has_result(self) -> bool:
        """Whether there is one right result, a number or a word."""
        return self.kind in RESULT_KINDS

    @property
    def result(self) -> int:
        """The right number; for ``opposite`` the right word's index.

        Raises:
            ValueError: The kind has no single result.
        """
        match self.kind:
            case "sum":
                return sum(self.numbers)
            case "larger":
                return max(self.numbers)
            case "opposite":
                return self.words[0] ^ 1
        raise ValueError(f"a task of kind {self.kind!r} has no result")


def draw_language(rng: np.random.Generator) -> Phrasebook:
    """Draw a prompt's language; about half are English."""
    return _LANGUAGES.pick(rng)


def draw_task(rng: np.random.Generator) -> Task:
    """Draw a question."""
    kind = _KINDS.pick(rng)
    match kind:
        case "sum":
            return Task(kind, numbers=tuple(rng.integers(1, _LARGEST_OPERAND + 1, size=2).tolist()))
        case "larger":
            return Task(kind, numbers=tuple(index + 1 for index in pick_indices(rng, _LARGEST_OPERAND, 2)))
        case "opposite":
            return Task(kind, words=(int(rng.integers(_NUM_WORDS)),))
        case _:
            return Task(kind, topics=pick_indices(rng, _NUM_TOPICS, pick(rng, (1, 2))))


def word_prompt(rng: np.random.Generator, task: Task, book: Phrasebook) -> str:
    """Word a task in one language; the same task has many wordings."""
    question = pick(rng, book.prompts[task.kind]).format(
        a=task.numbers[0] if task.numbers else "",
        b=task.numbers[1] if task.numbers else "",
        topics=book.list_topics(task.topics),
        word=book.show_word(task.words[0]) if task.words else "",
    )
    sentences = [question]
    if rng.random() < _GREETING_RATE:
        sentences.insert(0, pick(rng, book.greetings))
    if task.kind == "harmful":
        sentences.append(pick(rng, book.harms))
    elif rng.random() < _REASON_RATE:
        sentences.append(pick(rng, book.reasons))
    return book.separator.join(sentences)
