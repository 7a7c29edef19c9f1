"""Prompts whose task is known: what a simulated model needs to answer them well or badly."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from wsdm_arena.config import SimulationConfig
from wsdm_arena.errors import UserError
from wsdm_arena.simulation.battle import Battle
from wsdm_arena.simulation.draws import Universe
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.models import draw_models
from wsdm_arena.simulation.phrasebook import Phrasebook
from wsdm_arena.simulation.rows import draw_voted_rows
from wsdm_arena.simulation.tasks import Task, TaskKind, draw_language, draw_task, word_prompt

COLUMNS = ("prompt", "task", "parameters", "language")
"""Of the table: ``task`` is its kind, ``parameters`` JSON text of numbers, topics and words, ``language`` the
phrasebook's name."""

_BOOKS = {book.name: book for book in PHRASEBOOKS}
_PARAMETERS = ("numbers", "topics", "words")


class SimulatedPromptError(UserError, ValueError):
    """A table of simulated prompts does not say what the simulator needs."""


@dataclass(frozen=True)
class KnownPrompt:
    """A prompt and what it asks."""

    text: str
    task: Task
    book: Phrasebook


def draw_prompt(rng: np.random.Generator, book: Phrasebook | None = None) -> KnownPrompt:
    """Draw a task and word it, in ``book``'s language or in any."""
    task = draw_task(rng)
    book = book or draw_language(rng)
    return KnownPrompt(word_prompt(rng, task, book), task, book)


def first_voted_prompts(universe: Universe, config: SimulationConfig, count: int) -> list[KnownPrompt]:
    """Return the first prompts of the training table and of the test table, as they were before any was spoilt.

    Args:
        universe: Of the tables.
        config: Of the tables.
        count: How many of each table, or all of a smaller one.
    """
    models = draw_models(universe, config.seed)
    clean = config.model_copy(update={"ugly_row_rate": 0.0})
    train = draw_voted_rows(universe, clean, "train", min(count, config.num_battles), models)
    test = draw_voted_rows(universe, clean, "test", min(count, config.num_test_pairs), models)
    return clean_prompts(battle for battle, _, _ in (*train, *test))


def clean_prompts(battles: Iterable[Battle]) -> list[KnownPrompt]:
    """Return the prompts of the battles that nobody spoilt."""
    return [
        KnownPrompt(battle.prompt, battle.task, battle.book)
        for battle in battles
        if battle.ugly_reason is None and battle.prompt is not None
    ]


def tabulate_prompts(prompts: Iterable[KnownPrompt]) -> pd.DataFrame:
    """Write prompts as a table of :data:`COLUMNS`, each text once, in the order of their first occurrence."""
    unique: dict[str, KnownPrompt] = {}
    for prompt in prompts:
        unique.setdefault(prompt.text, prompt)
    rows = [
        (text, prompt.task.kind, _write_parameters(prompt.task), prompt.book.name) for text, prompt in unique.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")


def parse_prompts(table: pd.DataFrame) -> dict[str, KnownPrompt]:
    """Read what :func:`tabulate_prompts` wrote.

    Returns:
        By text.

    Raises:
        SimulatedPromptError: A column is missing, or a row names a task or language that the arena does not have.
    """
    if missing := [column for column in COLUMNS if column not in table]:
        raise SimulatedPromptError(f"the table of simulated prompts has no column {missing}; simulate the arena again")
    rows = zip(*(table[column] for column in COLUMNS), strict=True)
    return {text: _parse(text, kind, parameters, language) for text, kind, parameters, language in rows}


def _write_parameters(task: Task) -> str:
    return json.dumps({name: getattr(task, name) for name in _PARAMETERS if getattr(task, name)})


def _parse(text: str, kind: TaskKind, parameters: str, language: str) -> KnownPrompt:
    try:
        if kind not in get_args(TaskKind):
            raise ValueError(f"there is no task of kind {kind!r}")
        values = {name: tuple(map(int, numbers)) for name, numbers in json.loads(parameters).items()}
        return KnownPrompt(text, Task(kind, **values), _BOOKS[language])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SimulatedPromptError(
            f"the simulated prompt {text!r} cannot be read: {type(error).__name__}: {error}; simulate the arena again"
        ) from error
