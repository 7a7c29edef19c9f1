"""The pair table as the token store reads it: each pair once, sorted by key, one text at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsdm_arena.prompts.tokenizers import PromptError

TEXT_COLUMNS = ("prompt", "response_a", "response_b")

BattleTexts = tuple[str | None, str | None, str | None]


@dataclass(frozen=True)
class PairTexts:
    """The distinct pairs of a table, ordered by ``pair_id``, so that the order of its rows does not matter.

    Texts are read from the frame one by one: taking many rows at once would copy a whole column of a large table.

    Attributes:
        pair_ids: ``(N,)`` bytes (UTF-8), sorted, no two alike.
        positions: ``(N,)`` row of each pair in the frame.
        columns: The frame's prompt, response A and response B.
    """

    pair_ids: NDArray[np.bytes_]
    positions: NDArray[np.int64]
    columns: tuple[Any, Any, Any]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, table: str) -> "PairTexts":
        """Check the columns and find the distinct pairs.

        Raises:
            PromptError: A column is missing, a key is null, or rows with the same key have different texts.
        """
        absent = [column for column in ("pair_id", *TEXT_COLUMNS) if column not in frame.columns]
        if absent:
            raise PromptError(f"table {table!r} has no column {', '.join(absent)}; it has {', '.join(frame.columns)}")
        if frame["pair_id"].isna().any():
            raise PromptError(f"table {table!r}: {int(frame['pair_id'].isna().sum())} rows have no pair_id")
        keys = encode_pair_ids(frame["pair_id"].to_numpy(dtype=object))
        pair_ids, positions, inverse = np.unique(keys, return_index=True, return_inverse=True)
        columns = tuple(frame[column].array for column in TEXT_COLUMNS)
        pairs = cls(pair_ids, positions, (columns[0], columns[1], columns[2]))
        repeated = np.flatnonzero(positions[inverse] != np.arange(len(keys)))
        for row in repeated.tolist():
            first = int(positions[inverse[row]])
            if pairs._read(row) != pairs._read(first):
                raise PromptError(
                    f"table {table!r}: rows {first} and {row} have the same pair_id {keys[row].decode()!r} but "
                    "different texts; pair_id must be derived from the texts"
                )
        return pairs

    def __len__(self) -> int:
        return len(self.pair_ids)

    def __iter__(self) -> Iterator[BattleTexts]:
        return map(self._read, self.positions.tolist())

    @cached_property
    def content_hash(self) -> str:
        """Hash of keys and texts (32 hex digits); null differs from an empty text."""
        digest = blake2b(digest_size=16)
        for pair_id, texts in zip(self.pair_ids.tolist(), self, strict=True):
            for part in (pair_id, *texts):
                data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
                digest.update(b"n" if data is None else b"t" + len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    def _read(self, row: int) -> BattleTexts:
        prompt, response_a, response_b = (self._read_text(column, row) for column in self.columns)
        return prompt, response_a, response_b

    def _read_text(self, column: Any, row: int) -> str | None:
        value = column[row]
        if isinstance(value, str):
            return value
        if value is None or value is pd.NA or value != value:  # NaN is how pandas stores a null text
            return None
        raise PromptError(f"row {row} holds {value!r} ({type(value).__name__}) where a text or null must stand")


def encode_pair_ids(pair_ids: Any) -> NDArray[np.bytes_]:
    """Keys as fixed-width UTF-8 bytes, which sort and compare without Python objects."""
    encoded = [str(pair_id).encode() for pair_id in pair_ids]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")
