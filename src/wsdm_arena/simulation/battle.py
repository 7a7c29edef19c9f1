"""One battle: two simulated models answer one prompt, and someone votes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsdm_arena.simulation.answers import Flaw, write_answer
from wsdm_arena.simulation.draws import pick_indices
from wsdm_arena.simulation.models import SimulatedModel
from wsdm_arena.simulation.phrasebook import Phrasebook
from wsdm_arena.simulation.tasks import Task, draw_language, draw_task, word_prompt
from wsdm_arena.simulation.voters import tie_probability, vote_probability


@dataclass(frozen=True)
class Battle:
    """A pair before its vote; which model stands where is random."""

    task: Task
    book: Phrasebook
    prompt: str | None
    response_a: str | None
    response_b: str | None
    model_a: str
    model_b: str
    flaw_a: Flaw
    flaw_b: Flaw
    ugly_reason: str | None = None

    @property
    def probability_a(self) -> float:
        """Probability that a vote goes to A; 0.5 exactly where both answers are equally good."""
        return vote_probability(self.flaw_a, self.flaw_b)


def draw_battle(rng: np.random.Generator, models: Sequence[SimulatedModel]) -> Battle:
    """Draw a battle whose vote is no tie: arenas publish only those."""
    while True:
        task, book = draw_task(rng), draw_language(rng)
        battle = answer_prompt(rng, models, task, book, word_prompt(rng, task, book))
        if rng.random() >= tie_probability(battle.flaw_a, battle.flaw_b):
            return battle


def answer_prompt(
    rng: np.random.Generator, models: Sequence[SimulatedModel], task: Task, book: Phrasebook, prompt: str | None
) -> Battle:
    """Let two different models answer; their texts differ too."""
    model_a, model_b = (models[index] for index in pick_indices(rng, len(models), 2))
    flaw_a, flaw_b = model_a.draw_flaw(rng, task), model_b.draw_flaw(rng, task)
    response_a = response_b = write_answer(rng, task, book, flaw_a)
    while response_b == response_a:
        response_b = write_answer(rng, task, book, flaw_b)
    return Battle(task, book, prompt, response_a, response_b, model_a.name, model_b.name, flaw_a, flaw_b)
