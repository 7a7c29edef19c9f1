"""The two phases of the final training: most of English first, then every other language with the rest of English."""

import logging

import numpy as np
import pandas as pd

from wsdm_arena.config import PreferencesConfig

logger = logging.getLogger(__name__)

FIRST_PHASE = 0
SECOND_PHASE = 1


def split_by_language(battles: pd.DataFrame, preferences: PreferencesConfig) -> pd.DataFrame:
    """The phase of the final training that each battle belongs to: ``battle_id``, ``phase``."""
    phases = assign_language_phases(
        battles, language=preferences.first_phase_language, hold_back_every=preferences.hold_back_every
    )
    if len(phases) and (phases == phases.iloc[0]).all():
        logger.warning(
            "preferences.first_phase_language=%r: all battles are in one phase of the final training; languages are %s",
            preferences.first_phase_language,
            sorted(battles["language"].unique())[:20],
        )
    return pd.DataFrame({"battle_id": battles["battle_id"], "phase": phases})


def assign_language_phases(battles: pd.DataFrame, *, language: str = "en", hold_back_every: int = 10) -> pd.Series:
    """Put each battle into one of two training phases.

    Battles of ``language`` are numbered from 0 in the order of their ``battle_id``, which depends on nothing but their
    contents; those whose number is a multiple of ``hold_back_every`` are held back for the second phase.

    Args:
        battles: With the columns ``battle_id`` and ``language``.
        language: Code of the language that the first phase consists of.
        hold_back_every: One in how many of its battles waits for the second phase.

    Returns:
        ``phase`` of each battle, 0 or 1, on the index of ``battles``.

    Raises:
        ValueError: ``hold_back_every`` is less than 2, which would leave the first phase empty.
    """
    if hold_back_every < 2:
        raise ValueError(
            f"hold_back_every={hold_back_every} leaves no battles to the first phase; it must be at least 2"
        )
    chosen = np.flatnonzero((battles["language"] == language).to_numpy())
    ordered = chosen[np.argsort(battles["battle_id"].to_numpy(dtype=object)[chosen], kind="stable")]
    phases = np.full(len(battles), SECOND_PHASE)
    phases[ordered] = np.where(np.arange(len(ordered)) % hold_back_every == 0, SECOND_PHASE, FIRST_PHASE)
    return pd.Series(phases, index=battles.index, name="phase")
