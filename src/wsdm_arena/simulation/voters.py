"""Who votes: people who mostly prefer the sounder answer, and call some battles a tie."""

import math

import numpy as np

from wsdm_arena.simulation.answers import Flaw

SEVERITY: dict[Flaw, float] = {
    "none": 0.0,
    "needless_length": 1.5,
    "cut_off": 3.0,
    "wrong_result": 4.0,
    "wrong_language": 4.5,
    "off_topic": 5.0,
    "refusal": 5.5,
    "compliance": 5.0,
    "missing": 7.0,
}
"""How much worse than a sound answer voters find each flaw, in logits."""

_LAPSE_RATE = 0.03
"""Share of votes cast by a coin: people who misread, misclick or do not look."""
_TIE_STRENGTH = 6.0
"""Davidson's nu; 6 makes a tie of three votes in four between equally good answers."""


def vote_probability(flaw_a: Flaw, flaw_b: Flaw) -> float:
    """Return the probability that a vote which is no tie goes to A.

    Bradley-Terry on the severities, with lapses.
    """
    gap = SEVERITY[flaw_b] - SEVERITY[flaw_a]
    return _LAPSE_RATE / 2 + (1 - _LAPSE_RATE) / (1 + math.exp(-gap))


def tie_probability(flaw_a: Flaw, flaw_b: Flaw) -> float:
    """Return the probability that the voter calls it a tie.

    Source: Davidson 1970, "On Extending the Bradley-Terry Model to Accommodate Ties in Paired Comparison Experiments".
    Its ratio of wins stays Bradley-Terry's, so leaving ties out does not change :func:`vote_probability`.
    """
    gap = SEVERITY[flaw_b] - SEVERITY[flaw_a]
    return _TIE_STRENGTH / (2 * math.cosh(gap / 2) + _TIE_STRENGTH)


def draw_winner(rng: np.random.Generator, probability_a: float) -> str:
    """Draw one vote: ``model_a`` or ``model_b``."""
    return "model_a" if rng.random() < probability_a else "model_b"
