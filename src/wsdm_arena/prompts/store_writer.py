"""Writes a token store: into a directory of its own, which gets its name when it is complete."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from wsdm_arena.prompts.battles import NUM_FIELDS, BattleTokenizer, TokenizedBattles
from wsdm_arena.prompts.pairs import BattleTexts, PairTexts
from wsdm_arena.runs.directories import partial_directory
from wsdm_arena.runs.files import MANIFEST, flush, sha256_of

logger = logging.getLogger(__name__)

MAX_BATCH_CHARACTERS = 524_288
MAX_BATCH_BATTLES = 512


class StoreWriter:
    """Context manager that leaves a complete store at ``path``, or nothing.

    What killed builds left behind is removed, see :func:`~wsdm_arena.runs.directories.partial_directory`.

    Args:
        path: The finished store.
        num_token_ids: Ids that can occur; below 65,536 a token takes two bytes, else four.
    """

    def __init__(self, path: Path, *, num_token_ids: int) -> None:
        self._path = path
        self._dtype = np.dtype(np.uint16 if num_token_ids <= 65_536 else np.uint32)
        self._num_token_ids = num_token_ids
        self._edges: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        self._columns: dict[str, list[NDArray[np.int32]]] = {
            "original_tokens": [],
            "kept_tokens": [],
            "replaced_characters": [],
        }
        self._pair_ids: NDArray[np.bytes_] = np.zeros(0, dtype="S1")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._partial = stack.enter_context(partial_directory(self._path))
            self._tokens: IO[bytes] = stack.enter_context((self._partial / "tokens.bin").open("wb"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write_battles(
        self, texts: PairTexts, tokenizer: BattleTokenizer, progress: Callable[[int, int], None] | None
    ) -> None:
        """Tokenize all pairs, a bounded number of characters at a time."""
        self._pair_ids = texts.pair_ids
        num_done = 0
        for batch in batch_texts(texts):
            self._append(tokenizer.tokenize(batch))
            num_done += len(batch)
            if progress is not None:
                progress(num_done, len(texts))

    def finish(self, manifest: dict[str, Any], tokenizer: BattleTokenizer) -> None:
        """Write the remaining files and give the store its name.

        Where another process was faster, its store stays and this one is dropped: both hold the same.
        """
        edges = np.concatenate(self._edges)
        columns = {
            name: np.concatenate(parts) if parts else np.zeros((0, NUM_FIELDS), dtype=np.int32)
            for name, parts in self._columns.items()
        }
        self._tokens.close()
        for name, array in {"offsets": edges, "pair_ids": self._pair_ids, **columns}.items():
            np.save(self._partial / f"{name}.npy", array, allow_pickle=False)
        content = {
            "kind": "token_store",
            **manifest,
            "num_pairs": len(self._pair_ids),
            "num_tokens": int(edges[-1]),
            "num_token_ids": self._num_token_ids,
            "dtype": self._dtype.name,
            "max_sequence_tokens": tokenizer.truncation.max_sequence_tokens,
            "template_hash": tokenizer.template.hash,
            "rendered_template": tokenizer.template.to_dict(),
            **_count(edges, columns, tokenizer.template.num_constant_tokens),
            "files": {f.name: f.stat().st_size for f in sorted(self._partial.iterdir())},
            "sha256": {f.name: sha256_of(f) for f in sorted(self._partial.iterdir())},
        }
        (self._partial / MANIFEST).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
        for path in (*self._partial.iterdir(), self._partial):
            flush(path)
        self._rename()

    def _append(self, battles: TokenizedBattles) -> None:
        battles.ids.astype(self._dtype).tofile(self._tokens)
        self._edges.append(battles.offsets[1:] + self._edges[-1][-1])
        for name, parts in self._columns.items():
            parts.append(getattr(battles, name))

    def _rename(self) -> None:
        try:
            os.rename(self._partial, self._path)
        except OSError:
            if not (self._path / MANIFEST).is_file():
                raise
            logger.info("another process has written %s meanwhile", self._path)
        flush(self._path.parent)


def batch_texts(texts: Iterable[BattleTexts]) -> Iterator[list[BattleTexts]]:
    """Cut battles into batches of a bounded number of characters, or of one battle that has more."""
    batch: list[BattleTexts] = []
    num_characters = 0
    for battle in texts:
        batch.append(battle)
        num_characters += sum(len(text) for text in battle if text is not None)
        if num_characters >= MAX_BATCH_CHARACTERS or len(batch) == MAX_BATCH_BATTLES:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _count(edges: NDArray[np.int64], columns: dict[str, NDArray[np.int32]], num_constant_tokens: int) -> dict[str, int]:
    fields = edges[NUM_FIELDS::NUM_FIELDS] - edges[:-NUM_FIELDS:NUM_FIELDS]
    truncated = np.any(columns["kept_tokens"] < columns["original_tokens"], axis=1)
    return {
        "longest_sequence": int(fields.max(initial=0)) + num_constant_tokens if len(fields) else 0,
        "num_truncated": int(truncated.sum()),
        "num_pairs_with_replaced_characters": int((columns["replaced_characters"] > 0).any(axis=1).sum()),
    }
