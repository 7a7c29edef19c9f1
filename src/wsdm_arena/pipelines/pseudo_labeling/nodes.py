"""Nodes of pseudo-labelling; the library does the work."""

from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.config import (
    LauncherConfig,
    PreferencesConfig,
    PseudoLabelConfig,
    ReadingConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.preferences.collected_pairs import reserved_prompt_groups
from wsdm_arena.runs.formats import SCORING_FORMAT, TOKENS_FORMAT, result_format
from wsdm_arena.scoring.pseudo_labels import pseudo_label
from wsdm_arena.stages.nodes import score_table_of_pairs, tokenize_table


@result_format(TOKENS_FORMAT)
def tokenize_for_labels(
    checkpoint: Path,
    judge: ResolvedJudge,
    reading: ReadingConfig,
    template: TemplateConfig,
    truncation: TruncationConfig,
    token_store: Path,
    **pairs: pd.DataFrame,
) -> dict[str, str]:
    """Tokenise a table as this judge shall read it here, or find that it was done before.

    The last argument is the table, by its name.

    Returns:
        Path of the token table, by the name of the table.
    """
    ((table, rows),) = pairs.items()
    tokens = tokenize_table(
        table,
        rows,
        name=f"{judge.stage}.{judge.judge}",
        tokenizer_dir=checkpoint,
        template=template,
        system_role=judge.system_role,
        truncation=truncation,
        policy=reading.truncation,
        token_store=token_store,
    )
    return {table: str(tokens)}


@result_format(SCORING_FORMAT)
def score_pairs_of_table(
    checkpoint: Path,
    tokens: dict[str, str],
    judge: ResolvedJudge,
    reading: ReadingConfig,
    launcher: LauncherConfig,
    scoring_runs: Path,
) -> pd.DataFrame:
    """Read every pair with a trained judge, in the orders that its labels are made of."""
    ((table, path),) = tokens.items()
    return score_table_of_pairs(
        checkpoint,
        Path(path),
        table=table,
        judge=judge,
        orders=reading.orders,
        launcher=launcher,
        scoring_runs=scoring_runs,
    )


def combine_labels(
    pairs: pd.DataFrame,
    battles: pd.DataFrame,
    test_pairs: pd.DataFrame,
    config: PseudoLabelConfig,
    preferences: PreferencesConfig,
    **predictions: pd.DataFrame,
) -> dict[str, Any]:
    """Average what the judges say, and drop the pairs of which they are unsure.

    Returns:
        ``labels`` and their ``report``, which names the judges.
    """
    tables = pseudo_label(
        pairs,
        predictions,
        config,
        num_classes=preferences.num_classes,
        forbidden_groups=reserved_prompt_groups(battles, test_pairs, preferences),
    )
    return {"labels": tables.labels, "report": tables.report}
