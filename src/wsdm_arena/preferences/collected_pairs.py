"""Pairs that were collected without a vote: named, cleaned, and kept apart from what judges are tested on."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wsdm_arena.config import PreferencesConfig
from wsdm_arena.preferences.languages import normalize_language
from wsdm_arena.preferences.pair_ids import pair_id, prompt_group
from wsdm_arena.preferences.raw_tables import FAULT_COLUMN, TEXT_COLUMNS, check_columns
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_names, clean_texts, count_turns, is_null

_STRING_COLUMNS = (
    "pair_id",
    "id",
    "source",
    "prompt",
    "response_a",
    "response_b",
    "language",
    "prompt_group",
    "model_a",
    "model_b",
)


class CollectedPairTables(NamedTuple):
    """Pairs without a vote, and what became of the raw rows."""

    collected_pairs: pd.DataFrame
    report: dict[str, Any]


def build_collected_pairs(
    raw: pd.DataFrame, battles: pd.DataFrame, test_pairs: pd.DataFrame, preferences: PreferencesConfig
) -> CollectedPairTables:
    """Name the pairs of a table without votes.

    Obligatory columns are ``prompt``, ``response_a`` and ``response_b``; ``id``, ``model_a``, ``model_b``, ``language``
    and ``source`` are used where they are. Dropped and reported are rows that cannot be read, lack a text, hold two
    identical answers or repeat a pair. Left out are pairs whose prompt is asked in the held-out fold or in the test
    pairs: a judge that learns from them would be tested on what it has seen.

    Returns:
        Pairs as :class:`wsdm_arena.schemas.UnlabelledPairs` describes them, ordered by ``pair_id``, and a report that
        JSON can hold.

    Raises:
        RawTableError: An obligatory column is missing.
    """
    raw = raw.reset_index(drop=True)
    check_columns(raw, TEXT_COLUMNS)
    report = RowReport(raw)
    rows = _clean_rows(raw, report)
    kept = np.ones(len(raw), dtype=bool)
    faulty = ~is_null(raw[FAULT_COLUMN]) if FAULT_COLUMN in raw else np.zeros(len(raw), dtype=bool)
    kept &= ~_drop(kept & faulty, "the row cannot be read", report)
    lacking = rows[list(TEXT_COLUMNS)].isna().any(axis=1).to_numpy()
    kept &= ~_drop(kept & lacking, "prompt or answer is null", report)
    identical = (rows["response_a"] == rows["response_b"]).to_numpy()
    kept &= ~_drop(kept & identical, "the answers are identical", report)
    kept &= ~_drop(kept & rows["pair_id"].where(kept).duplicated().to_numpy(), "the row repeats another", report)
    for name, groups in reserved_prompt_groups(battles, test_pairs, preferences).items():
        reserved = kept & rows["prompt_group"].isin(groups).to_numpy()
        report.leave_out(reserved, f"the prompt is one of the {name}")
        kept &= ~reserved
    report.log_summary("collected pairs", int(kept.sum()))
    pairs = rows[kept].sort_values("pair_id").reset_index(drop=True)
    pairs["id"] = pairs["id"].fillna(pairs["pair_id"])
    pairs = pairs.astype(dict.fromkeys(_STRING_COLUMNS, "str"))
    return CollectedPairTables(pairs, {**report.to_dict(), "num_collected_pairs": len(pairs)})


def reserved_prompt_groups(
    battles: pd.DataFrame, test_pairs: pd.DataFrame, preferences: PreferencesConfig
) -> dict[str, set[str]]:
    """Prompts that no training without votes may use, by where they are asked: the held-out fold, the test pairs."""
    held_out = battles.loc[battles["fold"] == preferences.held_out_fold, "prompt_group"]
    prompts = test_pairs["prompt"].drop_duplicates()
    return {
        "held-out battles": set(held_out),
        "test pairs": {prompt_group(None if pd.isna(prompt) else prompt) for prompt in prompts},
    }


def _clean_rows(raw: pd.DataFrame, report: RowReport) -> pd.DataFrame:
    columns: dict[str, Any] = {name: clean_texts(raw[name], report) for name in TEXT_COLUMNS}
    texts = list(zip(*(columns[name] for name in TEXT_COLUMNS), strict=True))
    names = {
        name: clean_names(raw[name], report) if name in raw else [None] * len(raw)
        for name in ("id", "source", "model_a", "model_b")
    }
    languages = raw["language"] if "language" in raw else [None] * len(raw)
    return pd.DataFrame(
        {
            "pair_id": [pair_id(*row) for row in texts],
            "id": names["id"],
            "source": [source or "collected" for source in names["source"]],
            **columns,
            "num_turns": np.array([count_turns(prompt) for prompt in columns["prompt"]], dtype=np.int64),
            "language": [normalize_language(language) for language in languages],
            "prompt_group": [prompt_group(prompt) for prompt in columns["prompt"]],
            "model_a": names["model_a"],
            "model_b": names["model_b"],
        }
    )


def _drop(mask: np.ndarray, reason: str, report: RowReport) -> np.ndarray:
    report.drop(mask, reason)
    return mask
