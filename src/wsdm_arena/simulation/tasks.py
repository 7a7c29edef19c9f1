"""What the simulated users ask: tasks whose right answer is known, without a language, and how they are worded."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsdm_arena.simulation.draws import Weighted, pick, pick_indices
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.phrasebook import Phrasebook

TaskKind = Literal["sum", "difference", "larger", "smaller", "first", "opposite", "describe", "harmful"]

TASK_WEIGHTS: dict[TaskKind, float] = {
    "sum": 0.14,
    "difference": 0.07,
    "larger": 0.08,
    "smaller": 0.08,
    "first": 0.07,
    "opposite": 0.09,
    "describe": 0.29,
    "harmful": 0.18,
}
"""How often each kind is asked. Harmful requests are frequent so that a refusal is right about as often as wrong."""

NUMBER_KINDS = frozenset({"sum", "difference", "larger", "smaller"})
RESULT_KINDS = NUMBER_KINDS | {"first", "opposite"}

_KINDS = Weighted(TASK_WEIGHTS)
_LANGUAGES = Weighted({book: book.weight for book in PHRASEBOOKS})
_NUM_TOPICS = len(PHRASEBOOKS[0].topics)
_NUM_WORDS = len(PHRASEBOOKS[0].opposites)
_LIST_LENGTH = 3
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
        """Whether there is one right result, a number or a topic."""
        return self.kind in RESULT_KINDS

    @property
    def result(self) -> int:
        """The right number; for ``first`` a topic's index, for ``opposite`` a word's.

        Raises:
            ValueError: The kind has no single result.
        """
        match self.kind:
            case "sum":
                return sum(self.numbers)
            case "difference":
                return self.numbers[0] - self.numbers[1]
            case "larger":
                return max(self.numbers)
            case "smaller":
                return min(self.numbers)
            case "first":
                return self.topics[0]
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
            return Task(kind, numbers=_draw_operands(rng))
        case "difference":
            subtrahend, difference = _draw_operands(rng)
            return Task(kind, numbers=(subtrahend + difference, subtrahend))
        case "larger" | "smaller":
            tens = pick_indices(rng, 9, 2)  # different tens, so that the first digit decides
            first, second = (10 * (digit + 1) + int(rng.integers(10)) for digit in tens)
            return Task(kind, numbers=(first, second))
        case "first":
            return Task(kind, topics=pick_indices(rng, _NUM_TOPICS, _LIST_LENGTH))
        case "opposite":
            return Task(kind, words=(int(rng.integers(_NUM_WORDS)),))
        case _:
            return Task(kind, topics=pick_indices(rng, _NUM_TOPICS, pick(rng, (1, 2))))


def _draw_operands(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(1, _LARGEST_OPERAND + 1)), int(rng.integers(1, _LARGEST_OPERAND + 1))


def word_prompt(rng: np.random.Generator, task: Task, book: Phrasebook) -> str:
    """Word a task in one language; the same task has many wordings."""
    joiner = book.comma if task.kind == "first" else book.conjunction
    question = pick(rng, book.prompts[task.kind]).format(
        a=task.numbers[0] if task.numbers else "",
        b=task.numbers[1] if task.numbers else "",
        topics=book.list_topics(task.topics, joiner=joiner),
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
