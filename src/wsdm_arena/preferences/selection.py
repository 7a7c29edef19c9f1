"""Which rows a training reads, and which it is scored on: keys and labels, no texts.

A selection has one row a pair or vote: ``table`` (of the texts), its keys, ``fold`` (-1 where there are none),
``split``, ``phase`` and the label's probabilities.
"""

from collections.abc import Mapping

import pandas as pd

from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.collected_pairs import reserved_prompt_groups
from wsdm_arena.preferences.folds import BattlesError

TRAIN = "train"
HELD_OUT = "held_out"
"""Scored, and not trained on."""
SEEN = "seen"
"""Scored although it is trained on: the scoreboard says so."""
NO_FOLD = -1
LABELS = ("probability_a", "probability_b", "probability_tie")


def select_teacher_rows(battles: pd.DataFrame, preferences: PreferencesConfig) -> pd.DataFrame:
    """Train on the battles of every fold but the held-out one, which is scored."""
    is_held_out = battles["fold"] == preferences.held_out_fold
    return _join_parts(_battles(battles[~is_held_out], TRAIN), _battles(battles[is_held_out], HELD_OUT))


def select_student_rows(
    battles: pd.DataFrame, collected_labels: pd.DataFrame, test_pairs: pd.DataFrame, preferences: PreferencesConfig
) -> pd.DataFrame:
    """Train on the teachers' battles and on the collected pairs as the teachers label them.

    Raises:
        BattlesError: A label's prompt is asked in the held-out fold or in the test pairs.
    """
    _refuse_reserved_prompts({"collected_labels": collected_labels}, battles, test_pairs, preferences)
    return _join_parts(select_teacher_rows(battles, preferences), _pseudo_labelled("collected_pairs", collected_labels))


def select_pretraining_rows(
    battles: pd.DataFrame,
    collected_labels: pd.DataFrame,
    generated_labels: pd.DataFrame,
    test_pairs: pd.DataFrame,
    preferences: PreferencesConfig,
) -> pd.DataFrame:
    """Train on all pseudo-labelled pairs; the held-out fold's battles are scored.

    A pair that stands in both tables is trained on once, as the collected one.

    Raises:
        BattlesError: There is no pseudo-labelled pair, or the prompt of one is asked in the held-out fold or in the
            test pairs.
    """
    labels = {"collected_labels": collected_labels, "generated_labels": generated_labels}
    _refuse_reserved_prompts(labels, battles, test_pairs, preferences)
    is_held_out = battles["fold"] == preferences.held_out_fold
    is_new = ~generated_labels["pair_id"].isin(collected_labels["pair_id"])
    selection = _join_parts(
        _pseudo_labelled("collected_pairs", collected_labels),
        _pseudo_labelled("generated_pairs", generated_labels[is_new]),
        _battles(battles[is_held_out], HELD_OUT),
    )
    if not (selection["split"] == TRAIN).any():
        raise BattlesError(
            "there is no pseudo-labelled pair to pretrain on: collected_pairs and generated_pairs gave none. Provide "
            "unlabelled pairs or conversations, lower pseudo_labels.*.min_margin, or set roster.students to []"
        )
    return selection


def select_final_rows(
    battles: pd.DataFrame, language_phases: pd.DataFrame, preferences: PreferencesConfig
) -> pd.DataFrame:
    """Train on the battles of all folds in two phases; the held-out fold is scored and marked as seen."""
    is_held_out = battles["fold"] == preferences.held_out_fold
    train = _in_phases(_battles(battles, TRAIN), language_phases)
    return _join_parts(train, _battles(battles[is_held_out], SEEN))


def select_final_held_out_rows(
    battles: pd.DataFrame, language_phases: pd.DataFrame, preferences: PreferencesConfig
) -> pd.DataFrame:
    """Train in the same two phases, but not on the held-out fold, which is scored."""
    is_held_out = battles["fold"] == preferences.held_out_fold
    train = _in_phases(_battles(battles[~is_held_out], TRAIN), language_phases)
    return _join_parts(train, _battles(battles[is_held_out], HELD_OUT))


def _refuse_reserved_prompts(
    tables: Mapping[str, pd.DataFrame],
    battles: pd.DataFrame,
    test_pairs: pd.DataFrame,
    preferences: PreferencesConfig,
) -> None:
    """Labels may be older than the fold that is held out now, or than the test table."""
    for where, groups in reserved_prompt_groups(battles, test_pairs, preferences).items():
        for name, labels in tables.items():
            if count := int(labels["prompt_group"].isin(groups).sum()):
                raise BattlesError(
                    f"{name}: the prompts of {count} of {len(labels)} pairs are asked in the {where}, on which judges "
                    "are tested; the labels are older than those. Label again: "
                    "kedro run --pipelines data_processing,teacher,student,pair_generation,pseudo_labeling"
                )


def _battles(battles: pd.DataFrame, split: str) -> pd.DataFrame:
    labels = [column for column in LABELS if column in battles]
    rows = battles[["pair_id", "battle_id", "fold", *labels]].copy()
    return rows.assign(table="battles", split=split, phase=0)


def _pseudo_labelled(table: str, labels: pd.DataFrame) -> pd.DataFrame:
    columns = [column for column in LABELS if column in labels]
    rows = labels[["pair_id", *columns]].copy()
    # Nobody voted on these, so a pair is a battle of its own.
    return rows.assign(battle_id=rows["pair_id"], fold=NO_FOLD, table=table, split=TRAIN, phase=0)


def _in_phases(rows: pd.DataFrame, language_phases: pd.DataFrame) -> pd.DataFrame:
    phases = rows["battle_id"].map(language_phases.set_index("battle_id")["phase"])
    if phases.isna().any():
        raise BattlesError(
            f"language_phases lacks {int(phases.isna().sum())} of {len(rows)} battles, such as "
            f"{rows.loc[phases.isna(), 'battle_id'].iloc[0]}; run data_processing again"
        )
    return rows.assign(phase=phases.astype("int64"))


def _join_parts(*parts: pd.DataFrame) -> pd.DataFrame:
    selection = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    columns = ["table", "pair_id", "battle_id", "fold", "split", "phase"]
    return selection[[*columns, *(column for column in LABELS if column in selection)]]
