"""User text becomes token ids, and never a control token."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsdm_arena.prompts.tokenizers import (
    build_untrusted_tokenizer,
    count_token_ids,
    find_character_starts,
    find_control_ids,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_CHUNK_CHARACTERS = 32_768
"""Longer texts are encoded in pieces, so that memory stays bounded.

A cut before a lone space between letters changes no token in any family we train. Only a text that has no such place
among 8,192 characters, such as a page of Chinese or a megabyte of one letter, may be spelt a little differently there
than encoded whole: a token or two more a cut.
"""

MAX_BATCH_CHARACTERS = 131_072
"""Characters handed to the tokenizer at once: its results take some 150 bytes a token, a character up to 4 tokens."""

_CUT = re.compile(r"\w(?= \w)")


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of several texts, end to end.

    Attributes:
        ids: ``(T,)`` int32.
        offsets: ``(N + 1,)`` int64; text i is ``ids[offsets[i]:offsets[i + 1]]``.
        num_replaced: ``(N,)`` int32; characters that could not be kept: lone surrogates, which became U+FFFD, and
            pieces of control tokens for which the vocabulary has no other spelling.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    num_replaced: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, ``(N,)``."""
        return np.diff(self.offsets)


class TextEncoder:
    """Encodes texts that nobody vouches for, without BOS or EOS, as they stand in mid-sequence.

    Attributes:
        starts_character: ``(V,)`` bool, whether a token begins at a character's boundary.
        is_control: ``(V,)`` bool, ids that no user text may yield.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        backend = tokenizer.backend_tokenizer
        self._tokenizer, renamed = build_untrusted_tokenizer(backend)
        self.starts_character: NDArray[np.bool_] = np.array(find_character_starts(tokenizer), dtype=np.bool_)
        self.is_control: NDArray[np.bool_] = np.zeros(count_token_ids(tokenizer), dtype=np.bool_)
        self.is_control[sorted(find_control_ids(tokenizer))] = True
        self._renamed: NDArray[np.int32] | None = None
        if renamed:
            self._renamed = np.arange(max(len(self.is_control), *renamed) + 1, dtype=np.int32)
            self._renamed[list(renamed)] = list(renamed.values())

    def encode(self, text: str) -> NDArray[np.int32]:
        """Token ids of one text."""
        return self.encode_batch([text]).ids

    def encode_batch(self, texts: Sequence[str]) -> EncodedTexts:
        """Token ids of many texts; memory beyond the result does not grow with their number or length."""
        num_replaced = np.zeros(len(texts), dtype=np.int32)
        lengths = np.zeros(len(texts), dtype=np.int64)
        pieces: list[NDArray[np.int32]] = []
        for owners, chunks in self._batches(texts, num_replaced):
            encodings = self._tokenizer.encode_batch_fast(chunks, add_special_tokens=False)
            for owner, chunk, encoding in zip(owners, chunks, encodings, strict=True):
                ids = self._to_backend_ids(encoding.ids)
                if self.is_control[ids].any():
                    ids, replaced = self._spell_out(chunk)
                    num_replaced[owner] += replaced
                pieces.append(ids)
                lengths[owner] += len(ids)
        ids = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
        return EncodedTexts(ids, np.concatenate(([0], np.cumsum(lengths))), num_replaced)

    def _batches(self, texts: Sequence[str], num_replaced: NDArray[np.int32]) -> Iterator[tuple[list[int], list[str]]]:
        owners: list[int] = []
        chunks: list[str] = []
        num_characters = 0
        for index, text in enumerate(texts):
            clean, num_replaced[index] = replace_lone_surrogates(text)
            for chunk in split_long_text(clean):
                if chunks and num_characters + len(chunk) > MAX_BATCH_CHARACTERS:
                    yield owners, chunks
                    owners, chunks, num_characters = [], [], 0
                owners.append(index)
                chunks.append(chunk)
                num_characters += len(chunk)
        if chunks:
            yield owners, chunks

    def _to_backend_ids(self, ids: list[int]) -> NDArray[np.int32]:
        array = np.array(ids, dtype=np.int32)
        return array if self._renamed is None else self._renamed[array]

    def _spell_out(self, text: str) -> tuple[NDArray[np.int32], int]:
        """Encode a text whose ordinary spelling holds a control token: that token's characters go one by one.

        It happens only with vocabularies that spell a control token like any other word. A character that is itself
        a control token is left out and counted.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids: list[int] = []
        num_dropped = 0
        for token_id, (start, end) in zip(self._to_backend_ids(encoding.ids).tolist(), encoding.offsets, strict=True):
            if not self.is_control[token_id]:
                ids.append(token_id)
                continue
            for character in text[start:end]:
                single = self._to_backend_ids(self._tokenizer.encode(character, add_special_tokens=False).ids)
                allowed = single[~self.is_control[single]]
                num_dropped += len(allowed) < len(single)
                ids.extend(allowed.tolist())
        return np.array(ids, dtype=np.int32), num_dropped


def replace_lone_surrogates(text: str) -> tuple[str, int]:
    """Make a string valid Unicode: surrogate pairs are joined, lone surrogates become U+FFFD.

    Returns:
        The text, and how many lone surrogates it had.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined, joined.count("\ufffd") - text.count("\ufffd")
    return text, 0


def split_long_text(text: str, max_characters: int = MAX_CHUNK_CHARACTERS) -> list[str]:
    """Cut a text into pieces of at most ``max_characters``, before a lone space where there is one in reach.

    Joined, the pieces are the text. An empty text is one empty piece.
    """
    pieces = []
    start = 0
    while len(text) - start > max_characters:
        limit = start + max_characters
        cut = _last_cut(text, limit - max_characters // 4, limit)
        pieces.append(text[start:cut])
        start = cut
    pieces.append(text[start:])
    return pieces


def _last_cut(text: str, lowest: int, limit: int) -> int:
    """Index of the last lone space in ``text[lowest:limit]``; ``limit`` where there is none."""
    for width in (256, limit - lowest):  # nearly always within the last few words
        cuts = [match.end() for match in _CUT.finditer(text, max(lowest, limit - width), limit)]
        if cuts:
            return cuts[-1]
    return limit
