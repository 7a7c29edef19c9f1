"""What the tables that cross the catalog must look like; each is a catalog entry's ``validator:``.

Columns that are not named here pass through. A message of pandera names the column, the check and the values that
failed.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

HEX_ID = r"^[0-9a-f]{32}$"
LABEL_COLUMNS = ("probability_a", "probability_b", "probability_tie")
ORDERS = ("ab", "ba")
SPLITS = ("train", "held_out", "seen")

_SUM_TOLERANCE = 1e-3  # probabilities may have been computed in half precision


def sums_to_one(table: pd.DataFrame) -> bool:
    """Check that the label columns of every row sum to 1."""
    columns = [column for column in LABEL_COLUMNS if column in table]
    return bool(np.allclose(table[columns].sum(axis=1), 1.0, atol=_SUM_TOLERANCE))


class _Labelled(pa.DataFrameModel):
    probability_a: Series[float] = pa.Field(ge=0, le=1)
    probability_b: Series[float] = pa.Field(ge=0, le=1)
    probability_tie: Series[float] | None = pa.Field(ge=0, le=1)

    @pa.dataframe_check(error="probability_a, probability_b (and probability_tie) sum to 1 in every row")
    def labels_sum_to_one(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        """A label is a distribution over the classes."""
        return sums_to_one(table)


class _Texts(pa.DataFrameModel):
    pair_id: Series[str] = pa.Field(str_matches=HEX_ID)
    id: Series[str]
    source: Series[str]
    prompt: Series[str] = pa.Field(nullable=True)
    response_a: Series[str] = pa.Field(nullable=True)
    response_b: Series[str] = pa.Field(nullable=True)
    num_turns: Series[int] = pa.Field(ge=1)
    language: Series[str] = pa.Field(str_length={"min_value": 2, "max_value": 7})


class Battles(_Texts, _Labelled):
    """One row a vote on a pair."""

    battle_id: Series[str] = pa.Field(str_matches=HEX_ID, unique=True)
    prompt_group: Series[str] = pa.Field(str_matches=HEX_ID)
    fold: Series[int] = pa.Field(ge=0)
    winner: Series[str] = pa.Field(isin=["model_a", "model_b", "tie"])
    model_a: Series[str] = pa.Field(nullable=True)
    model_b: Series[str] = pa.Field(nullable=True)

    @pa.dataframe_check(error="no prompt_group stands in two folds")
    def prompt_groups_are_in_one_fold(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        """Training folds never contain a prompt of the held-out one."""
        folds = table.groupby("prompt_group")["fold"]
        return bool((folds.min() == folds.max()).all())


class UnlabelledPairs(_Texts):
    """One row a pair that nobody voted on."""

    pair_id: Series[str] = pa.Field(str_matches=HEX_ID, unique=True)
    prompt_group: Series[str] = pa.Field(str_matches=HEX_ID)
    model_a: Series[str] = pa.Field(nullable=True)
    model_b: Series[str] = pa.Field(nullable=True)


class PseudoLabels(_Labelled):
    """What judges say of a pair that nobody voted on; pairs they are unsure of are left out."""

    pair_id: Series[str] = pa.Field(str_matches=HEX_ID, unique=True)
    prompt_group: Series[str] = pa.Field(str_matches=HEX_ID)


class TestPairs(_Texts):
    """One row an id of the test table, to be judged."""

    id: Series[str] = pa.Field(unique=True)


class Selection(_Labelled):
    """Which battles a training learns from, in which phase, and which it is scored on."""

    table: Series[str]
    pair_id: Series[str] = pa.Field(str_matches=HEX_ID)
    battle_id: Series[str] = pa.Field(str_matches=HEX_ID)
    split: Series[str] = pa.Field(isin=list(SPLITS))
    phase: Series[int] = pa.Field(ge=0)
    fold: Series[int]

    class Config:
        """A battle that is trained on may be scored too, marked as seen."""

        unique: list[str] = ["battle_id", "split"]  # noqa: RUF012


class Predictions(pa.DataFrameModel):
    """What a judge says of each pair read in each order; classes are canonical (a, b[, tie]) whatever the order."""

    pair_id: Series[str] = pa.Field(str_matches=HEX_ID)
    order: Series[str] = pa.Field(isin=list(ORDERS))
    logits: Series[object]
    probabilities: Series[object]
    fold: Series[int] | None
    judge_fingerprint: Series[str]
    template_hash: Series[str]
    truncated: Series[bool]

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
