"""Which rows a training reads, and which it is scored on: keys and labels, no texts."""

import pandas as pd

from wsdm_arena.config import PreferencesConfig

HELD_OUT = "held_out"
TRAIN = "train"


def select_training_rows(battles: pd.DataFrame, preferences: PreferencesConfig) -> pd.DataFrame:
    """Train on every fold but the held-out one, which is scored.

    Args:
        battles: As in :class:`wsdm_arena.schemas.Battles`.
        preferences: Names the held-out fold.

    Returns:
        One row a battle: ``table``, its keys and fold, ``split`` (``train`` or ``held_out``), ``phase`` (all 0) and the
        label's probabilities.
    """
    labels = [column for column in ("probability_a", "probability_b", "probability_tie") if column in battles]
    selection = battles[["pair_id", "battle_id", "fold", *labels]].copy()
    selection.insert(0, "table", "battles")
    held_out = selection["fold"] == preferences.held_out_fold
    selection["split"] = held_out.map({True: HELD_OUT, False: TRAIN})
    selection["phase"] = 0
    return selection
