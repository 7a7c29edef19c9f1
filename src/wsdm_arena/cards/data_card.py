"""The card of a table that a run made: what is in it, where it comes from, what is missing. No text of it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wsdm_arena.cards.licences import Source, sources_of_table
from wsdm_arena.cards.markdown import Markdown, front_matter, render
from wsdm_arena.cards.outcomes import read_label_origins, read_outcomes
from wsdm_arena.cards.summaries import count_values, text_lengths
from wsdm_arena.cards.tables import TABLES, TableDescription
from wsdm_arena.columns import LABEL_COLUMNS
from wsdm_arena.config.fetching import SourcesConfig

TEXT_COLUMNS = ("prompt", "response_a", "response_b")
_PASSED = "Passed on from the raw table."
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's size categories: https://huggingface.co/docs/hub/datasets-cards."""
_TEMPLATE = "data_card.md.j2"
_TENTHS = 10


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: As it stands there.
        type: Of its values.
        meaning: From the schema.
        num_nulls: Rows without a value.
        nulls: Their share of all rows.
    """

    name: str
    type: str
    meaning: Markdown | str
    num_nulls: int
    nulls: float


def write_data_card(
    table: str,
    frame: pd.DataFrame,
    *,
    report: Mapping[str, Any] | None = None,
    env: str | None = None,
    sources: SourcesConfig | None = None,
    model_sources: Sequence[Source] = (),
) -> str:
    """Write the card of a table; equal arguments give equal text.

    Names from the table (models, sources, languages, columns) are escaped: none can break the Markdown. Texts of the
    table are counted and measured, never shown: they are people's.

    Args:
        table: Its name in the catalog, one of :data:`~wsdm_arena.cards.tables.TABLES`.
        frame: The table.
        report: What was dropped when it was made; None if that is not at hand.
        env: Configuration that it was made with.
        sources: Inputs and their licences; None if that is not at hand.
        model_sources: Models of the run's own choice that wrote its answers, or that its labelling judges are of.

    Returns:
        Markdown with YAML front matter, as the Hugging Face Hub reads it.

    Raises:
        ValueError: No such table is known.
    """
    if table not in TABLES:
        raise ValueError(f"there is no description of a table {table!r}; known are {', '.join(TABLES)}")
    description, languages = TABLES[table], count_values(frame, "language")
    models = _count_models(frame)
    known_sources = [*sources_of_table(table, sources), *model_sources]
    values = {
        "table": table,
        "front_matter": front_matter(_metadata(table, frame, languages, known_sources)),
        "description": description,
        "env": env,
        "num_rows": len(frame),
        "distinct": _count_distinct(frame),
        "languages": languages,
        "origins": count_values(frame, "source"),
        "rounds": count_values(frame, "round"),
        "models": models,
        "columns": _describe_columns(frame, description),
        "lengths": text_lengths(frame, TEXT_COLUMNS),
        "winners": count_values(frame, "winner"),
        "labels": _describe_labels(frame),
        "outcomes": read_outcomes(report or {}),
        "num_raw_rows": (report or {}).get("num_rows"),
        "label_origins": read_label_origins(report or {}),
        "has_report": report is not None,
        "sources": known_sources,
        "simulated": (model_sources and description.simulated_but_for_answers) or description.simulated,
        "is_simulated": bool(sources and sources.simulated),
    }
    return render(_TEMPLATE, values)


def _metadata(table: str, frame: pd.DataFrame, languages: Mapping[str, int], sources: list[Source]) -> dict[str, Any]:
    licences = {source.hub_licence for source in sources}
    size = next((name for limit, name in _SIZES if len(frame) < limit), "1M<n<10M")
    return {
        "pretty_name": f"wsdm-arena: {table}",
        "language": [name for name in languages if name.isascii() and name.isalpha() and len(name) in (2, 3)],
        "license": next(iter(licences)) if len(licences) == 1 and "other" not in licences else None,
        "task_categories": ["text-classification"],
        "size_categories": [size],
        "tags": ["wsdm-arena", "preference"],
    }


def _describe_columns(frame: pd.DataFrame, description: TableDescription) -> list[Column]:
    """Meanings are ours, so they may hold Markdown; names and types are the table's."""
    known = {name: column.description for name, column in description.schema.to_schema().columns.items()}
    meanings = known | dict(description.extra_columns)
    return [
        Column(
            name=str(name),
            type=str(frame[name].dtype),
            meaning=Markdown(meanings.get(str(name)) or _PASSED),
            num_nulls=int(frame[name].isna().sum()),
            nulls=float(frame[name].isna().mean()) if len(frame) else 0.0,
        )
        for name in frame.columns
    ]


def _count_distinct(frame: pd.DataFrame) -> dict[str, int]:
    prompts = "prompt_group" if "prompt_group" in frame else "prompt"
    columns = {"pairs": "pair_id", "prompts": prompts}
    return {name: int(frame[column].nunique()) for name, column in columns.items() if column in frame}


def _count_models(frame: pd.DataFrame) -> dict[str, int]:
    """Answers by model."""
    columns = [frame[column] for column in ("model_a", "model_b") if column in frame]
    if not columns:
        return {}
    return count_values(pd.DataFrame({"model": pd.concat(columns, ignore_index=True)}), "model")


def _describe_labels(frame: pd.DataFrame) -> dict[str, Any]:
    """Means of the label columns, and rows by tenth of A's probability; empty without labels."""
    columns = [column for column in LABEL_COLUMNS if column in frame]
    if not columns or frame.empty:
        return {}
    tenths = (frame["probability_a"] * _TENTHS).clip(0, _TENTHS - 1).astype(int).value_counts()
    return {
        "means": {column: float(frame[column].mean()) for column in columns},
        "tenths": [
            (f"{tenth / _TENTHS:.1f} to {(tenth + 1) / _TENTHS:.1f}", int(tenths.get(tenth, 0)))
            for tenth in range(_TENTHS)
        ],
        "is_soft": bool(~frame["probability_a"].isin([0.0, 1.0]).all()),
    }
