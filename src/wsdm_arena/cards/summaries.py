"""Tables of pairs in the figures that cards show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

_TRAIN = "train"


@dataclass(frozen=True)
class TrainingPart:
    """What a training reads of one table in one phase.

    Attributes:
        stage: Whose training.
        phase: Counted from 1.
        table: Whose rows.
        num_rows: Battles or pairs.
        num_prompts: Different prompts among them; None where the texts' table was not at hand.
        languages: Rows by language.
        sources: Rows by source.
    """

    stage: str
    phase: int
    table: str
    num_rows: int
    num_prompts: int | None
    languages: Mapping[str, int]
    sources: Mapping[str, int]


def answering_models(pairs: pd.DataFrame) -> list[str]:
    """Who wrote answers, by name; empty where the table does not say."""
    columns = [pairs[column] for column in ("model_a", "model_b") if column in pairs]
    return sorted(pd.concat(columns).dropna().unique()) if columns else []


def describe_training(stage: str, selection: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[TrainingPart]:
    """Count what a selection has a judge trained on.

    Args:
        stage: Whose training.
        selection: As :class:`wsdm_arena.schemas.Selection` describes it.
        tables: Tables that the selection names, with ``pair_id``, ``prompt_group``, ``language`` and ``source``; of
            those that are missing only the rows are counted.

    Returns:
        By phase, then by table.
    """
    trained = selection[selection["split"] == _TRAIN]
    parts = []
    keys = trained[["phase", "table"]].drop_duplicates()
    for phase, table in sorted(zip(keys["phase"].astype(int), keys["table"].astype("str"), strict=True)):
        rows = trained[(trained["phase"] == phase) & (trained["table"] == table)]
        known = tables.get(table)
        joined = None if known is None else _join(rows, known)
        parts.append(
            TrainingPart(
                stage=stage,
                phase=phase + 1,
                table=table,
                num_rows=len(rows),
                num_prompts=None if joined is None else int(joined["prompt_group"].nunique()),
                languages={} if joined is None else count_values(joined, "language"),
                sources={} if joined is None else count_values(joined, "source"),
            )
        )
    return parts


def count_values(table: pd.DataFrame, column: str) -> dict[str, int]:
    """Rows by value, the most frequent first, equal ones by name; empty for a column that is not there."""
    if column not in table:
        return {}
    counted = table[column].dropna().astype("str").value_counts()
    ordered = sorted(counted.items(), key=lambda item: (-int(item[1]), str(item[0])))
    return {str(name): int(rows) for name, rows in ordered}


def text_lengths(table: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Characters of each text that is there: median, two quantiles and the longest."""
    lengths: dict[str, dict[str, int]] = {}
    for column in columns:
        if column not in table:
            continue
        sizes = table[column].dropna().str.len()
        if len(sizes):
            points: dict[str, Any] = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "longest": 1.0}
            lengths[column] = {name: int(sizes.quantile(point)) for name, point in points.items()}
    return lengths


def _join(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A pair that was voted on twice stands in the table twice, and so do its prompt and language."""
    columns = [column for column in ("pair_id", "prompt_group", "language", "source") if column in table]
    known = table[columns].drop_duplicates("pair_id")
    return rows[["pair_id"]].merge(known, on="pair_id", how="left", validate="many_to_one")
