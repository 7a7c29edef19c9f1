"""Nodes of the simulated arena; the library does the work."""

from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation.arena import simulate_arena
from wsdm_arena.simulation.collected_pairs import simulate_collected_pairs
from wsdm_arena.simulation.conversations import simulate_conversations
from wsdm_arena.simulation.raw_checkpoints import write_raw_checkpoints

CHECKPOINTS = ("gemma", "llama")
"""Judges whose tiny backbones are written as raw checkpoints."""


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


def simulate_unlabelled(simulation: SimulationConfig) -> dict[str, Any]:
    """Draw pairs without votes, and conversations to mine prompts from.

    Returns:
        ``simulated_collected_pairs`` (two tables), ``conversations`` (six shards) and ``simulated_prompts``: what the
        simulated models need to know in order to answer the conversations' prompts.
    """
    conversations = simulate_conversations(simulation)
    return {
        "simulated_collected_pairs": simulate_collected_pairs(simulation),
        "conversations": conversations.shards,
        "simulated_prompts": conversations.prompts,
    }


def write_checkpoints(simulated_checkpoints: Path) -> dict[str, Path]:
    """Write the tiny backbones as checkpoints in the contest's inference layout.

    Returns:
        Folder of each, by the judge's name.
    """
    write_raw_checkpoints(simulated_checkpoints, CHECKPOINTS)
    return {judge: simulated_checkpoints / judge for judge in CHECKPOINTS}
