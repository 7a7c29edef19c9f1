"""Who answers: simulated models of known skill, drawn anew for every seed."""

from dataclasses import dataclass

import numpy as np

from wsdm_arena.simulation.answers import Flaw, possible_flaws
from wsdm_arena.simulation.draws import Universe, Weighted, open_stream
from wsdm_arena.simulation.tasks import Task

ROSTERS: dict[Universe, tuple[str, ...]] = {
    "runs": (
        "aster-large",
        "aster-mini",
        "birch-7b-chat",
        "birch-70b-chat",
        "cobalt-2",
        "delta-instruct",
        "ember-xl",
        "fjord-9b-it",
        "garnet-pro",
        "heron-small",
        "indigo-base",
        "juniper-3b",
    ),
    "backbones": (
        "kelp-nano",
        "larch-13b",
        "mica-turbo",
        "nimbus-chat",
        "onyx-8b",
        "pine-instruct",
        "quartz-1",
        "reed-27b-it",
        "slate-lite",
        "thistle-pro",
        "umber-4b",
        "willow-max",
    ),
}
"""Names of the models; the two universes have none in common."""

FLAW_SHARES: dict[Flaw, float] = {
    "wrong_language": 0.20,
    "cut_off": 0.17,
    "off_topic": 0.20,
    "wrong_result": 0.40,
    "needless_length": 0.05,
    "refusal": 0.11,
    "compliance": 0.50,
}
"""Mean weight of each flaw among the flaws that a task allows."""

_LOWEST_SKILL, _HIGHEST_SKILL = 0.25, 0.80
_PROFILE_CONCENTRATION = 12.0
"""Of the Dirichlet distribution of a model's flaw weights; higher makes the models more alike."""


@dataclass(frozen=True)
class SimulatedModel:
    """One answering model."""

    name: str
    skill: float
    """Probability that an answer is sound."""
    flaw_weights: dict[Flaw, float]

    def draw_flaw(self, rng: np.random.Generator, task: Task) -> Flaw:
        """Draw the flaw of one answer, ``none`` with probability ``skill``."""
        if rng.random() < self.skill:
            return "none"
        return Weighted({flaw: self.flaw_weights[flaw] for flaw in possible_flaws(task)}).pick(rng)


def draw_models(universe: Universe, seed: int) -> tuple[SimulatedModel, ...]:
    """Draw skill and weaknesses of every model in a universe; another seed gives others."""
    rng = open_stream(universe, seed, "models")
    names = ROSTERS[universe]
    skills = rng.permutation(np.linspace(_LOWEST_SKILL, _HIGHEST_SKILL, len(names)))
    skills = skills + rng.uniform(-0.02, 0.02, len(names))
    flaws, shares = tuple(FLAW_SHARES), np.array(list(FLAW_SHARES.values()))
    profiles = rng.dirichlet(_PROFILE_CONCENTRATION * shares, len(names))
    return tuple(
        SimulatedModel(name, float(skill), dict(zip(flaws, profile.tolist(), strict=True)))
        for name, skill, profile in zip(names, skills, profiles, strict=True)
    )
