"""Texts of pairs to be judged, cleaned as those of the pipeline's tables are, each pair once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.preferences.pair_ids import pair_id
from wsdm_arena.preferences.raw_tables import TEXT_COLUMNS, RawTableError, check_columns
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_texts
from wsdm_arena.prompts.pairs import BattleTexts

PairsLike = pd.DataFrame | Iterable[Mapping[str, Any] | Sequence[Any]]
"""A table, or mappings, with ``prompt``, ``response_a`` and ``response_b``; or triples of these."""


@dataclass(frozen=True)
class PairTexts:
    """P different pairs, and the N rows that they stand in.

    Attributes:
        texts: ``P`` of prompt, response A and response B; a null one is None.
        pair_ids: ``P``, as the pipeline names them.
        pair_of_row: ``(N,)``, positions in ``texts``.
        first_rows: ``(P,)``, the first row of each pair.
    """

    texts: tuple[BattleTexts, ...]
    pair_ids: tuple[str, ...]
    pair_of_row: npt.NDArray[np.int64]
    first_rows: npt.NDArray[np.int64]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "PairTexts":
        """Clean the texts of a table.

        Args:
            frame: ``prompt``, ``response_a``, ``response_b``: any cells. Other columns may be called as they like.

        Raises:
            RawTableError: A column is missing, or there twice.
        """
        check_columns(frame, TEXT_COLUMNS)
        for name in TEXT_COLUMNS:
            if (number := int((frame.columns == name).sum())) > 1:
                raise RawTableError(f"the table: {number} columns are called {name!r}; rename all but one")
        texts = frame[list(TEXT_COLUMNS)].reset_index(drop=True)
        unreported = RowReport(texts)
        columns = [clean_texts(texts[name], unreported) for name in TEXT_COLUMNS]
        return cls.of_texts(list(zip(*columns, strict=True)))

    @classmethod
    def of_texts(cls, rows: Sequence[BattleTexts]) -> "PairTexts":
        """Find the different pairs among N rows of clean texts."""
        positions: dict[str, int] = {}
        names = [pair_id(*row) for row in rows]
        pair_of_row = np.array([positions.setdefault(name, len(positions)) for name in names], dtype=np.int64)
        first_rows = np.unique(pair_of_row, return_index=True)[1]
        return cls(tuple(rows[row] for row in first_rows.tolist()), tuple(positions), pair_of_row, first_rows)

    def __len__(self) -> int:
        return len(self.texts)


def as_frame(pairs: PairsLike) -> pd.DataFrame:
    """Bring pairs into a table; one that is a table already is returned as it is.

    Raises:
        TypeError: A pair is neither a mapping nor a sequence of three texts.
    """
    if isinstance(pairs, pd.DataFrame):
        return pairs
    rows = [_as_row(pair) for pair in pairs]
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in TEXT_COLUMNS}
    return pd.DataFrame(columns)


def _as_row(pair: Any) -> Mapping[str, Any]:
    if isinstance(pair, Mapping):
        if absent := [name for name in TEXT_COLUMNS if name not in pair]:
            raise TypeError(f"a pair lacks {absent}; it has {list(pair)}")
        return pair
    if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != len(TEXT_COLUMNS):
        raise TypeError(f"a pair is (prompt, response_a, response_b) or a mapping with these keys, not {pair!r:.80}")
    return dict(zip(TEXT_COLUMNS, pair, strict=True))
