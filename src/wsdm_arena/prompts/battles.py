"""From a battle's texts to the tokens that are kept of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsdm_arena.config import TemplateConfig, TruncationConfig, TruncationPolicy
from wsdm_arena.prompts.template import RenderedTemplate, render_template
from wsdm_arena.prompts.text import TextEncoder
from wsdm_arena.prompts.truncation import NUM_FIELDS, Truncation, cut_middle, plan_truncation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ORDERS = ("ab", "ba")
"""Canonical order, and the responses exchanged on display."""


@dataclass(frozen=True)
class TokenizedBattles:
    """The texts of N battles as token ids, already truncated.

    Attributes:
        ids: ``(T,)`` int32: prompt, response A, response B of the first battle, then of the next.
        offsets: ``(3 * N + 1,)`` int64; field f of battle i is ``ids[offsets[3 * i + f]:offsets[3 * i + f + 1]]``.
        original_tokens: ``(N, 3)`` int32, tokens of each whole text.
        kept_tokens: ``(N, 3)`` int32, how many of those are still there; the marker does not count.
        replaced_characters: ``(N, 3)`` int32, characters that could not be kept (lone surrogates and the like).
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    original_tokens: NDArray[np.int32]
    kept_tokens: NDArray[np.int32]
    replaced_characters: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.original_tokens)

    def fields(self, battle: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Ids of prompt, response A and response B."""
        edges = self.offsets[NUM_FIELDS * battle : NUM_FIELDS * battle + NUM_FIELDS + 1].tolist()
        prompt, response_a, response_b = (self.ids[start:end] for start, end in pairwise(edges))
        return prompt, response_a, response_b


class BattleTokenizer:
    """Tokenizes and truncates battles for one tokenizer, template and policy.

    Attributes:
        template: The constant ids around the texts.
        truncation: The policy with its numbers.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: TemplateConfig,
        *,
        system_role: bool,
        truncation: TruncationConfig,
        policy: TruncationPolicy,
    ) -> None:
        self.encoder = TextEncoder(tokenizer)
        self.template: RenderedTemplate = render_template(
            tokenizer, template, system_role=system_role, marker=truncation.marker, encoder=self.encoder
        )
        self.truncation: Truncation = plan_truncation(truncation, policy, self.template)
        self._missing_text = template.missing_text

    def tokenize(self, battles: Sequence[tuple[str | None, str | None, str | None]]) -> TokenizedBattles:
        """Tokenize prompt, response A and response B of each battle; None becomes the template's missing text."""
        texts = [self._missing_text if text is None else text for battle in battles for text in battle]
        encoded = self.encoder.encode_batch(texts)
        lengths = encoded.lengths
        allotted = self.truncation.allot(lengths.reshape(-1, NUM_FIELDS)).reshape(-1)
        kept = lengths.copy()
        pieces: list[NDArray[np.int32]] = []
        start = 0
        for index in np.flatnonzero(allotted < lengths).tolist():
            begin, end = encoded.offsets[index : index + 2].tolist()
            cut, kept[index] = cut_middle(
                encoded.ids[begin:end], int(allotted[index]), self.truncation.marker, self.encoder.starts_character
            )
            allotted[index] = len(cut)
            pieces += [encoded.ids[start:begin], cut]
            start = end
        pieces.append(encoded.ids[start:])
        return TokenizedBattles(
            ids=np.concatenate(pieces),
            offsets=np.concatenate(([0], np.cumsum(allotted))),
            original_tokens=lengths.reshape(-1, NUM_FIELDS).astype(np.int32),
            kept_tokens=kept.reshape(-1, NUM_FIELDS).astype(np.int32),
            replaced_characters=encoded.num_replaced.reshape(-1, NUM_FIELDS),
        )


def assemble_sequence(
    template: RenderedTemplate,
    prompt: NDArray[np.int32],
    response_a: NDArray[np.int32],
    response_b: NDArray[np.int32],
    order: str,
) -> NDArray[np.int32]:
    """The whole sequence of a battle read in one order, int32.

    Args:
        template: The constant ids.
        prompt: Ids of the prompt, already truncated; the responses likewise, in canonical order.
        response_a: Shown first in order ``ab``.
        response_b: Shown first in order ``ba``.
        order: ``ab`` or ``ba``.

    Raises:
        ValueError: Any other order.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; it must be one of {ORDERS}")
    first, second = (response_a, response_b) if order == "ab" else (response_b, response_a)
    pieces = (
        template.before_prompt,
        prompt,
        template.before_response_a,
        first,
        template.before_response_b,
        second,
        template.after_battle,
    )
    return np.concatenate([np.asarray(piece, dtype=np.int32) for piece in pieces])
