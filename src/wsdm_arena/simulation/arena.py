"""The simulated arena: raw tables in the contest's public formats, and the truth behind them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation.battle import Battle
from wsdm_arena.simulation.draws import Universe
from wsdm_arena.simulation.models import SimulatedModel, draw_models
from wsdm_arena.simulation.rows import VotedTable, draw_voted_rows


@dataclass(frozen=True)
class SimulatedArena:
    """Everything one simulation yields; every frame has a fresh integer index."""

    train_table: pd.DataFrame
    """``id, prompt, response_a, response_b, winner, model_a, model_b, language``."""
    test_table: pd.DataFrame
    """``id, prompt, response_a, response_b, scored``."""
    sample_submission: pd.DataFrame
    """``id, winner``: every test row, all ``model_a``."""
    simulated_truth: pd.DataFrame
    """``id, table, probability_a, winner, flaw_a, flaw_b, task, language, model_a, model_b, ugly_reason``.

    One row for each id of both tables (``table`` is ``train`` or ``test``). ``probability_a`` is the chance that a vote
    goes to A, ``winner`` the vote as it fell, for test rows too; ``ugly_reason`` is null on clean rows."""
    simulated_models: pd.DataFrame
    """``model, skill`` (probability of a sound answer) and one column of weights for each flaw."""


def simulate_arena(config: SimulationConfig, *, universe: Universe = "runs") -> SimulatedArena:
    """Simulate an arena; the same configuration gives the same bytes.

    Args:
        config: Size, seed and share of ugly rows.
        universe: ``backbones`` has models, skills and draws that no run ever sees, whatever its seed.
    """
    models = draw_models(universe, config.seed)
    train = _draw_rows(universe, config, "train", config.num_battles, models)
    test = _draw_rows(universe, config, "test", config.num_test_pairs, models)
    test_table = test[["id", "prompt", "response_a", "response_b"]].assign(scored=True)
    truth_columns = [
        "probability_a",
        "winner",
        "flaw_a",
        "flaw_b",
        "task",
        "language",
        "model_a",
        "model_b",
        "ugly_reason",
    ]
    return SimulatedArena(
        train_table=train[["id", "prompt", "response_a", "response_b", "winner", "model_a", "model_b", "language"]],
        test_table=test_table,
        sample_submission=test_table[["id"]].assign(winner="model_a"),
        simulated_truth=pd.concat([train, test], ignore_index=True)[["id", "table", *truth_columns]],
        simulated_models=pd.DataFrame(
            [{"model": model.name, "skill": model.skill, **model.flaw_weights} for model in models]
        ),
    )


def ceiling_accuracy(simulated_truth: pd.DataFrame, ids: Iterable[str]) -> float:
    """Return the best accuracy that any judge can expect on these rows.

    A judge that knows the voters names the likelier winner of each battle.

    Args:
        simulated_truth: As in :class:`SimulatedArena`.
        ids: Rows to average over; an id may occur more than once.

    Raises:
        ValueError: There is no id, or an id that the simulation did not write.
    """
    wanted = list(ids)
    if not wanted:
        raise ValueError("the ceiling of no rows is undefined: ids is empty")
    probabilities = simulated_truth.set_index("id")["probability_a"].reindex(wanted)
    unknown = probabilities.index[probabilities.isna()]
    if len(unknown):
        raise ValueError(f"{len(unknown)} of {len(wanted)} ids are not in simulated_truth, such as {unknown[0]!r}")
    return float(np.maximum(probabilities, 1 - probabilities).mean())


def _draw_rows(
    universe: Universe, config: SimulationConfig, table: VotedTable, num_rows: int, models: tuple[SimulatedModel, ...]
) -> pd.DataFrame:
    drawn = draw_voted_rows(universe, config, table, num_rows, models)
    rows = [_describe(battle) | {"winner": winner, "id": row_id} for battle, winner, row_id in drawn]
    return pd.DataFrame(rows).assign(table=table)


def _describe(battle: Battle) -> dict[str, object]:
    return {
        "prompt": battle.prompt,
        "response_a": battle.response_a,
        "response_b": battle.response_b,
        "probability_a": battle.probability_a,
        "flaw_a": battle.flaw_a,
        "flaw_b": battle.flaw_b,
        "task": battle.task.kind,
        "language": battle.book.name,
        "model_a": battle.model_a,
        "model_b": battle.model_b,
        "ugly_reason": battle.ugly_reason,
    }
