"""Rows of the arena's tables, drawn one after the other, with the ugly ones among them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation.battle import Battle, answer_prompt, draw_battle
from wsdm_arena.simulation.draws import Stream, Universe, open_stream
from wsdm_arena.simulation.models import SimulatedModel
from wsdm_arena.simulation.ugly import draw_ugly_reason, spoil
from wsdm_arena.simulation.voters import draw_winner

VotedTable = Literal["train", "test"]

_STREAMS: dict[VotedTable, tuple[Stream, Stream]] = {"train": ("train", "ugly_train"), "test": ("test", "ugly_test")}
_MAX_REPEAT_DISTANCE = 200
"""A repeated vote or prompt follows its first occurrence within so many rows."""


def draw_voted_rows(
    universe: Universe, config: SimulationConfig, table: VotedTable, num_rows: int, models: Sequence[SimulatedModel]
) -> Iterator[tuple[Battle, str, str]]:
    """Draw the first rows of a table: battle, winner and id, which is unique across tables."""
    rng, ugly_rng = (open_stream(universe, config.seed, stream) for stream in _STREAMS[table])
    battles: list[Battle] = []
    for _ in range(num_rows):
        battle = draw_battle(rng, models)
        if ugly_rng.random() < config.ugly_row_rate:
            battle = draw_ugly(ugly_rng, battle, battles, models)
        battles.append(battle)
        yield battle, draw_winner(rng, battle.probability_a), rng.bytes(16).hex()


def draw_ugly(
    rng: np.random.Generator, battle: Battle, earlier: Sequence[Battle], models: Sequence[SimulatedModel]
) -> Battle:
    """Spoil a battle, or put a repetition of an earlier one in its place."""
    reason = draw_ugly_reason(rng)
    if reason in {"repeated_vote", "repeated_prompt"} and earlier:
        source = earlier[-1 - int(rng.integers(min(len(earlier), _MAX_REPEAT_DISTANCE)))]
        if reason == "repeated_vote":
            battle = source
        else:
            battle = answer_prompt(rng, models, source.task, source.book, source.prompt)
        return replace(battle, ugly_reason=reason)
    return spoil(rng, battle, reason)
