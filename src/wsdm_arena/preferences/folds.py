"""Folds of battles: a prompt stands in one of them only, and winners are equally frequent in all."""

import warnings

import numpy as np
import pandas as pd

from wsdm_arena.errors import UserError


class BattlesError(UserError, ValueError):
    """A table as a whole cannot become battles; nothing was processed."""


def assign_folds(prompt_groups: pd.Series, winners: pd.Series, *, num_folds: int, seed: int) -> np.ndarray:
    """Spread battles over folds, all battles of a prompt group into the same one.

    Source: scikit-learn's ``StratifiedGroupKFold``, shuffled. The order of the rows makes no difference.

    Args:
        prompt_groups: Keys that must not be split, ``(num_battles,)``.
        winners: Labels to stratify by, ``(num_battles,)``.
        num_folds: Folds are numbered from 0.
        seed: ``random_state`` of the shuffle.

    Returns:
        The fold of each battle, ``(num_battles,)``.

    Raises:
        BattlesError: There are too few prompts, or battles, for that many folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # a second to import, which every command would pay

    num_groups = prompt_groups.nunique()
    if num_groups < num_folds:
        raise BattlesError(
            f"{num_folds} folds need at least {num_folds} different prompts, there are {num_groups} "
            f"among {len(winners)} battles; lower preferences.num_folds or add battles"
        )
    folds = np.full(len(winners), -1)
    splitter = StratifiedGroupKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds cannot be spread evenly
            for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(winners)), winners, prompt_groups)):
                folds[held_out] = fold
    except ValueError as error:
        raise BattlesError(f"{error} Lower preferences.num_folds or add battles.") from error
    if len(np.unique(folds)) < num_folds:
        raise BattlesError(
            f"{num_groups} prompts leave a fold without battles; lower preferences.num_folds={num_folds} or add battles"
        )
    check_folds(prompt_groups, folds)
    return folds


def check_folds(prompt_groups: pd.Series, folds: np.ndarray | pd.Series) -> None:
    """Make sure that no prompt is trained on in one fold and tested on in another.

    Raises:
        BattlesError: A prompt group stands in two folds, or a battle in none.
    """
    if (np.asarray(folds) < 0).any():
        raise BattlesError(f"{int((np.asarray(folds) < 0).sum())} battles have no fold")
    folds_of_group = pd.Series(np.asarray(folds)).groupby(prompt_groups.to_numpy()).nunique()
    if (split := folds_of_group[folds_of_group > 1]).size:
        raise BattlesError(f"{split.size} prompt groups stand in more than one fold, such as {split.index[0]}")
