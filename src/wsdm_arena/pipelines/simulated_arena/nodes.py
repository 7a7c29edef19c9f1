"""Nodes of the simulated arena; the library does the work."""

import pandas as pd

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation.arena import simulate_arena


def simulate(simulation: SimulationConfig) -> dict[str, pd.DataFrame]:
    """Draw models, battles and votes.

    Returns:
        ``train_table``, ``test_table`` and ``sample_submission`` as the contest publishes them, and
        ``simulated_truth``: what really was the chance of each vote, and what is wrong with each answer.
    """
    arena = simulate_arena(simulation)
    return {
        "train_table": arena.train_table,
        "test_table": arena.test_table,
        "sample_submission": arena.sample_submission,
        "simulated_truth": arena.simulated_truth,
    }
