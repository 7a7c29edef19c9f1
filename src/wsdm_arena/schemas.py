"""What the tables that cross the catalog must look like; each is a catalog entry's ``validator:``.

Columns that are not named here pass through. A message of pandera names the column, the check and the values that
failed.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from wsdm_arena.columns import LABEL_COLUMNS, ORDERS

HEX_ID = r"^[0-9a-f]{32}$"
SPLITS = ("train", "held_out", "seen")

_SUM_TOLERANCE = 1e-3  # probabilities may have been computed in half precision


def sums_to_one(table: pd.DataFrame) -> bool:
    """Check that the label columns of every row sum to 1."""
    columns = [column for column in LABEL_COLUMNS if column in table]
    return bool(np.allclose(table[columns].sum(axis=1), 1.0, atol=_SUM_TOLERANCE))


class _Labelled(pa.DataFrameModel):
    probability_a: Series[float] = pa.Field(ge=0, le=1, description="Share of the label that says answer A is better.")
    probability_b: Series[float] = pa.Field(ge=0, le=1, description="Share of the label that says answer B is better.")
    probability_tie: Series[float] | None = pa.Field(
        ge=0,
        le=1,
        description="Share of the label that says neither is better; only with preferences.tie_policy: class.",
    )

    @pa.dataframe_check(error="probability_a, probability_b (and probability_tie) sum to 1 in every row")
    def labels_sum_to_one(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        """A label is a distribution over the classes."""
        return sums_to_one(table)


class _Texts(pa.DataFrameModel):
    pair_id: Series[str] = pa.Field(
        str_matches=HEX_ID, description="Hash of the prompt and both answers in their order: names the pair everywhere."
    )
    id: Series[str] = pa.Field(description="As in the raw table; one of our own where it has none.")
    source: Series[str] = pa.Field(description="Table or round that the row comes from.")
    prompt: Series[str] = pa.Field(
        nullable=True, description="What the user asked; several turns stand in one text. Written by people."
    )
    response_a: Series[str] = pa.Field(nullable=True, description="Answer A, written by a model.")
    response_b: Series[str] = pa.Field(nullable=True, description="Answer B, written by a model.")
    num_turns: Series[int] = pa.Field(ge=1, description="Turns of the user in the prompt.")
    language: Series[str] = pa.Field(
        str_length={"min_value": 2, "max_value": 7},
        description="Code of the prompt's language, as the raw table says; `unknown` where it says nothing.",
    )


class Battles(_Texts, _Labelled):
    """One row a vote on a pair."""

    battle_id: Series[str] = pa.Field(
        str_matches=HEX_ID, unique=True, description="Hash of pair, raw id, winner and models: names the vote."
    )
    prompt_group: Series[str] = pa.Field(
        str_matches=HEX_ID, description="Hash of the prompt; battles that share it are in one fold."
    )
    fold: Series[int] = pa.Field(ge=0, description="Part of the battles, from 0; one is held out from training.")
    winner: Series[str] = pa.Field(
        isin=["model_a", "model_b", "tie"], description="What the voter preferred: the label that people gave."
    )
    model_a: Series[str] = pa.Field(nullable=True, description="Who wrote answer A.")
    model_b: Series[str] = pa.Field(nullable=True, description="Who wrote answer B.")

    @pa.dataframe_check(error="no prompt_group stands in two folds")
    def prompt_groups_are_in_one_fold(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        """Training folds never contain a prompt of the held-out one."""
        folds = table.groupby("prompt_group")["fold"]
        return bool((folds.min() == folds.max()).all())


class UnlabelledPairs(_Texts):
    """One row a pair that nobody voted on."""

    pair_id: Series[str] = pa.Field(
        str_matches=HEX_ID,
        unique=True,
        description="Hash of the prompt and both answers in their order: names the pair everywhere.",
    )
    prompt_group: Series[str] = pa.Field(str_matches=HEX_ID, description="Hash of the prompt.")
    model_a: Series[str] = pa.Field(nullable=True, description="Who wrote answer A.")
    model_b: Series[str] = pa.Field(nullable=True, description="Who wrote answer B.")


class PseudoLabels(_Labelled):
    """What judges say of a pair that nobody voted on; pairs they are unsure of are left out."""

    pair_id: Series[str] = pa.Field(
        str_matches=HEX_ID, unique=True, description="The pair that is labelled, in the table of pairs."
    )
    prompt_group: Series[str] = pa.Field(str_matches=HEX_ID, description="Hash of the pair's prompt.")


class TestPairs(_Texts):
    """One row an id of the test table, to be judged."""

    id: Series[str] = pa.Field(unique=True, description="As in the raw table; the submission has one row for each.")


class Selection(_Labelled):
    """Which battles a training learns from, in which phase, and which it is scored on."""

    table: Series[str] = pa.Field(description="Table that holds the texts.")
    pair_id: Series[str] = pa.Field(str_matches=HEX_ID, description="The pair, in that table.")
    battle_id: Series[str] = pa.Field(
        str_matches=HEX_ID, description="The vote; the pair itself where nobody has voted."
    )
    split: Series[str] = pa.Field(
        isin=list(SPLITS), description="`train`; or scored: `held_out`, or `seen` if it is trained on besides."
    )
    phase: Series[int] = pa.Field(ge=0, description="Of the training, from 0.")
    fold: Series[int] = pa.Field(description="Of the battle; -1 where there are none.")

    class Config:
        """A battle that is trained on may be scored too, marked as seen."""

        unique: list[str] = ["battle_id", "split"]  # noqa: RUF012


class Predictions(pa.DataFrameModel):
    """What a judge says of each pair read in each order; classes are canonical (a, b[, tie]) whatever the order."""

    pair_id: Series[str] = pa.Field(str_matches=HEX_ID, description="The pair that was read.")
    order: Series[str] = pa.Field(isin=list(ORDERS), description="Which answer was shown first.")
    logits: Series[object] = pa.Field(description="One a class, in displayed order.")
    probabilities: Series[object] = pa.Field(description="One a class, a, b[, tie] whatever the order.")
    fold: Series[int] | None = pa.Field(description="Of the battle, from 0.")
    judge_fingerprint: Series[str] = pa.Field(description="Names the judge.")
    template_hash: Series[str] = pa.Field(description="Names the wording of its prompt.")
    truncated: Series[bool] = pa.Field(description="Whether the pair was too long to be read whole.")

    class Config:
        """Every pair is scored exactly once in each order."""

        unique: list[str] = ["pair_id", "order"]  # noqa: RUF012

    @pa.dataframe_check(error="logits and probabilities have one finite value a class, the same 2 or 3 in every row")
    def values_are_finite(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        """Logits may be any finite number; probabilities sum to 1."""
        if table.empty:
            return True
        sizes = set(table["logits"].map(len)) | set(table["probabilities"].map(len))
        if len(sizes) != 1 or not sizes <= {2, 3}:
            return False
        logits, probabilities = np.stack(table["logits"].to_list()), np.stack(table["probabilities"].to_list())
        return bool(np.isfinite(logits).all() and np.allclose(probabilities.sum(axis=1), 1.0, atol=_SUM_TOLERANCE))
