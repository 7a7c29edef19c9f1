"""Nodes that write the data card of each table; the library does the work."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from wsdm_arena.cards.data_card import write_data_card
from wsdm_arena.cards.licences import sources_of_answers, sources_of_labels
from wsdm_arena.cards.summaries import answering_models
from wsdm_arena.config import BackboneConfig, GenerationConfig, PackagedModelConfig
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.runs.formats import result_format
from wsdm_arena.runs.source_code import CARDS

GENERATED = "generated_pairs"
"""The table whose answers models of the run's own choice wrote, each with terms of its own."""


def card_writer(table: str) -> Callable[..., str]:
    """Make the node function that writes the card of one table.

    Args:
        table: Its name in the catalog.
    """

    @result_format(CARDS)
    def write(
        frame: pd.DataFrame,
        report: dict[str, Any],
        sources: SourcesConfig,
        run_context: dict[str, Any],
    ) -> str:
        """Write what a table holds, where it comes from and what was dropped, as Markdown."""
        return write_data_card(table, frame, report=report, env=run_context.get("env"), sources=sources)

    write.__name__ = write.__qualname__ = f"write_{table}_card"
    return write


@result_format(CARDS)
def write_generated_pairs_card(
    frame: pd.DataFrame,
    report: dict[str, Any],
    sources: SourcesConfig,
    run_context: dict[str, Any],
    generation: GenerationConfig,
    packaged_models: dict[str, Any],  # no class of their own, as Kedro would hide those within it from other nodes
) -> str:
    """Write what the generated pairs hold, which models answered under what terms, and what was dropped."""
    models = sources_of_answers(
        answering_models(frame), generation.answer_models, _read_packages(packaged_models), sources
    )
    return write_data_card(
        GENERATED, frame, report=report, env=run_context.get("env"), sources=sources, model_sources=models
    )


def label_card_writer(table: str) -> Callable[..., str]:
    """Make the node function that writes the card of a table of labels.

    Args:
        table: Its name in the catalog.
    """

    @result_format(CARDS)
    def write(
        frame: pd.DataFrame,
        report: dict[str, Any],
        sources: SourcesConfig,
        run_context: dict[str, Any],
        labellers: dict[str, Any],
        packaged_models: dict[str, Any],
    ) -> str:
        """Write what labels there are, which judges gave them, and the terms of those judges' models."""
        judges = {name: BackboneConfig.model_validate(each) for name, each in labellers[table].items()}
        models = sources_of_labels(judges, _read_packages(packaged_models), sources)
        return write_data_card(
            table, frame, report=report, env=run_context.get("env"), sources=sources, model_sources=models
        )

    write.__name__ = write.__qualname__ = f"write_{table}_card"
    return write


def _read_packages(packaged_models: dict[str, Any]) -> dict[str, PackagedModelConfig]:
    return {name: PackagedModelConfig.model_validate(model) for name, model in packaged_models.items()}
