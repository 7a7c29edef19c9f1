"""Nodes that write the data card of each table; the library does the work."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from wsdm_arena.cards.data_card import write_data_card
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.runs.formats import result_format
from wsdm_arena.runs.source_code import CARDS


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
