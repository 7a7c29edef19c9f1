"""From a raw table to battles: one row a vote, validated, labelled, in folds, and a report of what was not kept."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.folds import BattlesError, assign_folds
from wsdm_arena.preferences.labels import (
    ONE_HOT_COLUMNS,
    label_columns,
    label_probabilities,
    parse_one_hot_winner,
    parse_winner,
)
from wsdm_arena.preferences.languages import normalize_language
from wsdm_arena.preferences.pair_ids import battle_id, pair_id, prompt_group
from wsdm_arena.preferences.raw_tables import FAULT_COLUMN, INTERNAL_COLUMNS, TEXT_COLUMNS, check_columns
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_names, clean_texts, count_turns, is_null, is_text, storable_column

MAX_FAULTY_SHARE = 0.2
"""A fault in more than this share of the rows, and in more than one, is the table's: it stops the run."""

_OPTIONAL_NAMES = ("model_a", "model_b")
_FRONT_COLUMNS = (
    "pair_id",
    "battle_id",
    "prompt_group",
    "fold",
    "source",
    "prompt",
    "response_a",
    "response_b",
    "num_turns",
    "winner",
)
_BACK_COLUMNS = ("language", "model_a", "model_b", "id")
_GENERATED_COLUMNS = (
    "pair_id",
    "battle_id",
    "prompt_group",
    "fold",
    "num_turns",
    "probability_a",
    "probability_b",
    "probability_tie",
)
"""Columns of battles that a raw table cannot set."""
_STRING_COLUMNS = {*_FRONT_COLUMNS, *_BACK_COLUMNS} - {"fold", "num_turns"}


class BattleTables(NamedTuple):
    """Battles, and what became of the raw rows."""

    battles: pd.DataFrame
    report: dict[str, Any]


def build_battles(raw: pd.DataFrame, config: PreferencesConfig) -> BattleTables:
    """Validate votes, name them, label them and spread them over folds.

    Obligatory columns are ``prompt``, ``response_a``, ``response_b`` and ``winner`` (or ``winner_model_a``,
    ``winner_model_b``, ``winner_tie``); ``id``, ``model_a``, ``model_b``, ``language`` and ``source`` are used where
    they are; others pass through. Left out and reported are rows that cannot be read, that hold no text, whose winner
    is unknown, whose answers are identical, and that repeat another row. Battles keep the order of the raw rows.

    Args:
        raw: As :func:`wsdm_arena.preferences.raw_tables.read_raw_tables` reads it, or a frame of one's own.
        config: Tie policy and folds.

    Returns:
        Battles with the columns of :class:`wsdm_arena.schemas.Battles`, and a report that JSON can hold.

    Raises:
        RawTableError: An obligatory column is missing.
        BattlesError: A fault is the table's and not a row's: most texts are no texts, many winners unknown, ids stand
            for different battles; or too few battles are left for the folds.
    """
    raw = raw.reset_index(drop=True)
    check_columns(raw, required_columns(raw.columns))
    report = RowReport(raw)
    kept = np.ones(len(raw), dtype=bool)
    kept &= ~_drop_unreadable(raw, report)
    rows = _clean_rows(raw, kept, report)
    kept &= ~_drop_textless(rows, kept, report)
    kept &= ~_drop_unknown_winners(raw, rows, kept, report)
    kept &= ~_drop_identical_answers(rows, kept, report)
    rows = _add_ids(rows, kept)
    kept &= ~_drop_repeats(rows, kept, report)
    kept &= ~_leave_out_ties(rows, kept, config, report)
    if not kept.any():
        raise BattlesError(f"no battles are left of {len(raw)} rows: {_reasons(report)}")
    battles = _label(rows[kept].reset_index(drop=True), config)
    report.log_summary("battles", len(battles))
    return BattleTables(battles, {**report.to_dict(), **_summarize(raw, battles)})


def required_columns(present: Iterable[str]) -> tuple[str, ...]:
    """Obligatory columns of raw battles, some of whose columns are these: a winner, or one column for each winner."""
    return TEXT_COLUMNS if set(ONE_HOT_COLUMNS) & set(present) else (*TEXT_COLUMNS, "winner")


def _drop_unreadable(raw: pd.DataFrame, report: RowReport) -> np.ndarray:
    if FAULT_COLUMN not in raw:
        return np.zeros(len(raw), dtype=bool)
    faulty = ~is_null(raw[FAULT_COLUMN])
    _refuse_if_systematic(faulty, np.ones(len(raw), dtype=bool), "cannot be read", report, "Repair the file.")
    report.drop(faulty, "the row cannot be read", [str(fault) for fault in raw[FAULT_COLUMN]])
    return faulty


def _clean_rows(raw: pd.DataFrame, kept: np.ndarray, report: RowReport) -> pd.DataFrame:
    """Give every known column its type; the others pass through."""
    for name in TEXT_COLUMNS:
        _refuse_non_text(raw[name], kept, report)
    columns: dict[str, Any] = {name: clean_texts(raw[name], report) for name in TEXT_COLUMNS}
    for name in ("id", "source", *_OPTIONAL_NAMES):
        columns[name] = clean_names(raw[name], report) if name in raw else [None] * len(raw)
    columns["source"] = [source or "table" for source in columns["source"]]
    languages = raw["language"] if "language" in raw else [None] * len(raw)
    columns["language"] = [normalize_language(language) for language in languages]
    columns["winner"] = _winners(raw)
    columns["num_turns"] = [count_turns(prompt) for prompt in columns["prompt"]]
    reserved = {*columns, *INTERNAL_COLUMNS, *ONE_HOT_COLUMNS, *_GENERATED_COLUMNS}
    passed = {name: storable_column(raw[name]) for name in raw.columns if name not in reserved}
    return pd.DataFrame({**columns, **passed}, index=raw.index)


def _winners(raw: pd.DataFrame) -> list[str | None]:
    if "winner" in raw:
        return [parse_winner(value) for value in raw["winner"]]
    present = [column for column in ONE_HOT_COLUMNS if column in raw]
    return [parse_one_hot_winner(dict(zip(present, cells, strict=True))) for cells in _records(raw[present])]


def _drop_textless(rows: pd.DataFrame, kept: np.ndarray, report: RowReport) -> np.ndarray:
    textless = kept & rows[list(TEXT_COLUMNS)].isna().all(axis=1).to_numpy()
    report.drop(textless, "prompt and both answers are null")
    return textless


def _drop_unknown_winners(raw: pd.DataFrame, rows: pd.DataFrame, kept: np.ndarray, report: RowReport) -> np.ndarray:
    unknown = kept & rows["winner"].isna().to_numpy()
    if not unknown.any():
        return unknown
    present = ["winner"] if "winner" in raw else [column for column in ONE_HOT_COLUMNS if column in raw]
    found = [
        ", ".join(f"{name}={str(row[name])[:40]!r}" for name in present) for row in raw[present].to_dict("records")
    ]
    examples = sorted({found[position] for position in np.flatnonzero(unknown)})[:5]
    what = f"name no winner in column {' / '.join(present)} ({'; '.join(examples)})"
    cure = "Known are model_a, model_b and tie."
    _refuse_if_systematic(unknown, kept, what, report, cure)
    report.drop(unknown, "the winner is unknown", found)
    return unknown


def _drop_identical_answers(rows: pd.DataFrame, kept: np.ndarray, report: RowReport) -> np.ndarray:
    """A vote between equal answers says nothing about answers."""
    first, second = rows["response_a"], rows["response_b"]
    identical = kept & ((first == second) | (first.isna() & second.isna())).to_numpy()
    report.drop(identical, "the answers are identical")
    return identical


def _add_ids(rows: pd.DataFrame, kept: np.ndarray) -> pd.DataFrame:
    """Name pair, vote and prompt of the rows that are kept so far; the others stay without."""
    columns = ["prompt", "response_a", "response_b", "id", "winner", *_OPTIONAL_NAMES]
    names = []
    for prompt, response_a, response_b, row_id, winner, model_a, model_b in _records(rows.loc[kept, columns]):
        pair = pair_id(prompt, response_a, response_b)
        vote = battle_id(pair, row_id=row_id, winner=winner, model_a=model_a, model_b=model_b)
        names.append((pair, vote, prompt_group(prompt)))
    ids = pd.DataFrame(names, columns=["pair_id", "battle_id", "prompt_group"], index=rows.index[kept], dtype="str")
    return rows.join(ids)


def _drop_repeats(rows: pd.DataFrame, kept: np.ndarray, report: RowReport) -> np.ndarray:
    """Drop rows that repeat another; refuse ids that stand for different battles of one source."""
    with_id = kept & rows["id"].notna().to_numpy()
    contents = rows[with_id].groupby(["source", "id"])["battle_id"].transform("nunique")
    conflicting = np.zeros(len(rows), dtype=bool)
    conflicting[contents.index[contents > 1]] = True
    if conflicting.any():
        ids = rows.loc[conflicting, "id"].drop_duplicates()
        shown = ", ".join(repr(name) for name in ids[:5])
        raise BattlesError(
            f"column 'id': {len(ids)} ids stand for different battles ({shown}): {report.describe(conflicting)}. "
            "Give each vote an id of its own, or remove the column."
        )
    repeated = kept & rows["battle_id"].where(kept).duplicated().to_numpy()
    report.drop(repeated, "the row repeats another")
    return repeated


def _leave_out_ties(rows: pd.DataFrame, kept: np.ndarray, config: PreferencesConfig, report: RowReport) -> np.ndarray:
    if config.tie_policy != "drop":
        return np.zeros(len(rows), dtype=bool)
    ties = kept & (rows["winner"] == "tie").to_numpy()
    report.leave_out(ties, "ties (preferences.tie_policy: drop)")
    return ties


def _label(rows: pd.DataFrame, config: PreferencesConfig) -> pd.DataFrame:
    probabilities = np.array([label_probabilities(winner, config.tie_policy) for winner in rows["winner"]])
    labels = dict(zip(label_columns(config.tie_policy), probabilities.T, strict=True))
    folds = assign_folds(rows["prompt_group"], rows["winner"], num_folds=config.num_folds, seed=config.fold_seed)
    battles = rows.assign(fold=folds, **labels)
    battles["id"] = battles["id"].fillna(battles["battle_id"])  # a table without ids gets stable ones
    front = [*_FRONT_COLUMNS, *labels, *_BACK_COLUMNS]
    strings = [name for name in front if name in _STRING_COLUMNS]
    passed = [name for name in battles.columns if name not in front]
    return battles[[*front, *passed]].astype(dict.fromkeys(strings, "str"))


def _refuse_non_text(column: pd.Series, kept: np.ndarray, report: RowReport) -> None:
    filled = kept & ~is_null(column)
    odd = filled & ~is_text(column)
    if odd.sum() * 2 > filled.sum():
        kind = type(column.iloc[int(np.flatnonzero(odd)[0])]).__name__
        raise BattlesError(
            f"column {column.name!r} holds {kind} instead of text in {odd.sum()} of {filled.sum()} rows: "
            f"{report.describe(odd)}. Convert the column, or name the right one {column.name!r}."
        )


def _refuse_if_systematic(faulty: np.ndarray, considered: np.ndarray, what: str, report: RowReport, cure: str) -> None:
    share = faulty.sum() / max(considered.sum(), 1)
    if faulty.sum() > 1 and share > MAX_FAULTY_SHARE:
        raise BattlesError(
            f"{faulty.sum()} of {considered.sum()} rows {what}, more than {MAX_FAULTY_SHARE:.0%}: "
            f"{report.describe(faulty)}. {cure}"
        )


def _records(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    """List rows as tuples in which a null is None."""
    columns = [
        [None if missing else cell for cell, missing in zip(rows[name], rows[name].isna(), strict=True)]
        for name in rows.columns
    ]
    return list(zip(*columns, strict=True))


def _reasons(report: RowReport) -> str:
    recorded = report.to_dict()
    reasons = recorded["dropped"] | recorded["left_out"]
    return "; ".join(f"{reason}: {count}" for reason, count in reasons.items()) or "the table is empty"


def _summarize(raw: pd.DataFrame, battles: pd.DataFrame) -> dict[str, Any]:
    def counts(column: str) -> dict[str, int]:
        return {str(value): int(count) for value, count in battles[column].value_counts().items()}

    replaced = sorted(set(_GENERATED_COLUMNS) & set(raw.columns))
    answers = battles[["response_a", "response_b"]]
    return {
        "num_battles": len(battles),
        "num_pairs": int(battles["pair_id"].nunique()),
        "num_prompts": int(battles["prompt_group"].nunique()),
        "battles_with_a_null_answer": int(answers.isna().any(axis=1).sum()),
        "battles_with_an_empty_prompt": int(battles["prompt"].fillna("").eq("").sum()),
        "winners": counts("winner"),
        "folds": counts("fold"),
        "languages": counts("language"),
        "sources": counts("source"),
        "replaced_columns": replaced,
    }
