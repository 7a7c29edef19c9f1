"""How many tokens of each text are kept, and which.

Both policies keep the beginning and the end of a text that is too long and put a marker between them, counted within
the text's share. All arithmetic is on integers, the same for A and B: exchanging the responses exchanges their shares.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsdm_arena.config import TruncationConfig, TruncationPolicy
from wsdm_arena.prompts.template import RenderedTemplate
from wsdm_arena.prompts.tokenizers import PromptError

logger = logging.getLogger(__name__)

NUM_FIELDS = 3
"""Prompt, response A, response B: the order of columns in every ``(N, 3)`` array here."""


@dataclass(frozen=True)
class Truncation:
    """One policy with its numbers, made for one template.

    Attributes:
        policy: ``per_field`` or ``shared_budget``.
        max_field_tokens: The most tokens that the three texts of a battle take together, markers included.
        max_prompt_tokens: Cap of the prompt; under ``shared_budget`` only where the battle exceeds its budget.
        max_response_tokens: Cap of a response under ``per_field``; None under ``shared_budget``.
        marker: Ids that stand for what was cut out.
        max_sequence_tokens: The longest sequence that can come out: instruction, chat template and battle.
    """

    policy: TruncationPolicy
    max_field_tokens: int
    max_prompt_tokens: int
    max_response_tokens: int | None
    marker: NDArray[np.int32]
    max_sequence_tokens: int

    def allot(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokens each text may take, never more than it has.

        Args:
            lengths: Tokens of prompt, response A and response B, ``(N, 3)``.

        Returns:
            ``(N, 3)``; where a value is below the length, the text is cut and the value includes the marker.
        """
        if self.max_response_tokens is not None:
            caps = np.array([self.max_prompt_tokens, self.max_response_tokens, self.max_response_tokens])
            return np.minimum(lengths, caps)
        smallest = len(self.marker) + 2
        return _allot_shared(lengths, self.max_field_tokens, self.max_prompt_tokens, smallest)


def _allot_shared(
    lengths: NDArray[np.int64], max_field_tokens: int, max_prompt_tokens: int, smallest_share: int
) -> NDArray[np.int64]:
    """Divide a budget between three texts that exceed it together.

    The prompt is capped; what is left goes to the responses in proportion to their lengths, rounded down. No response
    gets less than ``smallest_share`` unless it is shorter: the other, which then is the longer one, gives way.
    """
    prompt = np.minimum(lengths[:, 0], max_prompt_tokens)
    responses = lengths[:, 1:]
    room = max_field_tokens - prompt
    total = responses.sum(axis=1)
    shares = responses * room[:, None] // np.maximum(total, 1)[:, None]
    shares = np.maximum(shares, np.minimum(responses, smallest_share))
    excess = np.maximum(shares.sum(axis=1) - room, 0)
    larger = responses > responses[:, ::-1]
    shares = shares - excess[:, None] * larger
    shares = np.where((total <= room)[:, None], responses, shares)
    fits = lengths.sum(axis=1) <= max_field_tokens
    return np.where(fits[:, None], lengths, np.column_stack([prompt, shares]))


def cut_middle(
    ids: NDArray[np.int32], max_tokens: int, marker: NDArray[np.int32], starts_character: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], int]:
    """Keep the begin and the end of a text and put the marker between them.

    A cut inside a character moves until that character is left out whole, so a few tokens fewer than allowed may be
    kept.

    Args:
        ids: The text.
        max_tokens: What may be returned at most, marker included.
        marker: Ids put in between.
        starts_character: ``(V,)`` bool, which ids begin at a character's boundary.

    Returns:
        The shortened ids, and how many of them are the text's own.
    """
    if len(ids) <= max_tokens:
        return ids, len(ids)
    kept = max(max_tokens - len(marker), 0)
    head, tail = (kept + 1) // 2, len(ids) - kept // 2
    while head > 0 and not starts_character[ids[head]]:
        head -= 1
    while tail < len(ids) and not starts_character[ids[tail]]:
        tail += 1
    return np.concatenate((ids[:head], marker, ids[tail:])), head + len(ids) - tail


def plan_truncation(config: TruncationConfig, policy: TruncationPolicy, template: RenderedTemplate) -> Truncation:
    """Fit a policy's numbers to a template, and check that they agree.

    ``max_battle_tokens`` counts the three texts and their headings. Under ``shared_budget`` the texts get what
    ``reserved_tokens`` leaves, or what the headings really leave where they are longer than that.

    Raises:
        PromptError: The caps and the headings exceed ``max_battle_tokens``, or no text fits beside the marker.
    """
    marker = np.array(template.marker, dtype=np.int32)
    headings = template.num_battle_overhead_tokens
    max_response_tokens: int | None = None
    if policy == "per_field":
        max_prompt_tokens = config.per_field.max_prompt_tokens
        max_response_tokens = config.per_field.max_response_tokens
        max_field_tokens = max_prompt_tokens + 2 * max_response_tokens
        _check_per_field(config, max_field_tokens, headings, len(marker))
    else:
        max_prompt_tokens = config.shared_budget.max_prompt_tokens
        max_field_tokens = config.max_battle_tokens - _reserve(config, headings)
        _check_shared_budget(config, max_field_tokens, len(marker))
    max_sequence_tokens = template.num_constant_tokens + max_field_tokens
    logger.info(
        "%s: the longest possible sequence has %d tokens (%d of instruction, chat template and headings, %d of text)",
        policy,
        max_sequence_tokens,
        template.num_constant_tokens,
        max_field_tokens,
    )
    return Truncation(policy, max_field_tokens, max_prompt_tokens, max_response_tokens, marker, max_sequence_tokens)


def _reserve(config: TruncationConfig, headings: int) -> int:
    reserved = config.shared_budget.reserved_tokens
    if headings > reserved:
        logger.info(
            "truncation.shared_budget.reserved_tokens=%d, but the headings take %d tokens with this tokenizer; "
            "%d are set aside, so that max_battle_tokens=%d holds",
            reserved,
            headings,
            headings,
            config.max_battle_tokens,
        )
    return max(reserved, headings)


def _check_per_field(config: TruncationConfig, max_field_tokens: int, headings: int, marker: int) -> None:
    if max_field_tokens + headings > config.max_battle_tokens:
        raise PromptError(
            f"truncation.per_field: prompt and two responses may take {max_field_tokens} tokens and the headings take "
            f"{headings}, together more than max_battle_tokens={config.max_battle_tokens}; lower max_prompt_tokens or "
            "max_response_tokens, or shorten the headings"
        )
    smallest = min(config.per_field.max_prompt_tokens, config.per_field.max_response_tokens)
    if smallest < marker + 2:
        raise PromptError(
            f"truncation.per_field: a cap of {smallest} tokens leaves no text beside the marker {config.marker!r}, "
            f"which takes {marker} tokens; raise the cap to {marker + 2} or shorten the marker"
        )


def _check_shared_budget(config: TruncationConfig, max_field_tokens: int, marker: int) -> None:
    prompt = config.shared_budget.max_prompt_tokens
    room = max_field_tokens - prompt
    if prompt < marker + 2 or room < 2 * (marker + 2):
        raise PromptError(
            f"truncation.shared_budget: of {max_field_tokens} tokens for the texts the prompt may take {prompt} and "
            f"the responses {room}, but each needs {marker + 2} or more beside the marker {config.marker!r}; raise "
            "max_battle_tokens, change max_prompt_tokens or shorten the marker"
        )
