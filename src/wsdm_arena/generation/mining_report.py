"""What became of each conversation: none is lost in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from wsdm_arena.generation.conversations import Shard

FAULTS = ("blank", "too_short", "too_long", "excluded")
"""Why the prompt of a conversation that occurs once is dropped by itself; the first that applies."""

LanguageCounts = Sequence[tuple[bool, str | None, int]]
"""Whether it is the first language, its name, and how many prompts it has."""


@dataclass(frozen=True)
class MiningReport:
    """Counts of conversations and prompts.

    Conversations are those without a user turn, the repeated and the unique; the unique are dropped for one of four
    reasons or because of a repeated prompt, or give a prompt.
    """

    num_conversations: int
    num_without_user_turn: int
    num_repeated: int
    """Conversations whose user turns occur more than once, all of them."""
    num_unique: int
    """Conversations whose user turns occur once."""
    num_blank: int
    """Prompt null, empty or white space."""
    num_too_short: int
    num_too_long: int
    num_excluded: int
    """Prompt stands in one of the tables to exclude."""
    num_repeated_prompts: int
    """Prompt was taken from another conversation."""
    num_first_language: int
    """Prompts in the first language, before the limit."""
    num_others: int
    """Prompts in all other languages, before the limit."""
    num_written: int
    """Prompts within the limits."""
    num_repaired: int
    """Prompts, repeated ones included, that were no valid UTF-8 and hold U+FFFD where it was not."""
    num_with_null_bytes: int
    """Prompts, repeated ones included, that hold null characters, which are kept."""
    languages: dict[str, int]
    """Prompts before the limit by language as the conversations spell it; those without one under "null"."""
    conversations_by_shard: dict[str, int]

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], languages: LanguageCounts, num_written: int, shards: Sequence[Shard]
    ) -> Self:
        """Put together what was counted on the way."""
        num_first_language = sum(count for is_first, _, count in languages if is_first)
        num_prompts = sum(count for _, _, count in languages)
        return cls(
            num_conversations=counts["all"],
            num_without_user_turn=counts["all"] - counts["with_user_turn"],
            num_repeated=counts["with_user_turn"] - counts["unique"],
            num_unique=counts["unique"],
            **{f"num_{name}": counts[name] for name in FAULTS},
            num_repeated_prompts=counts["candidates"] - num_prompts,
            num_first_language=num_first_language,
            num_others=num_prompts - num_first_language,
            num_written=num_written,
            num_repaired=counts["repaired"],
            num_with_null_bytes=counts["with_null_bytes"],
            languages={"null" if name is None else name: count for _, name, count in languages},
            conversations_by_shard={str(shard.path): shard.num_conversations for shard in shards},
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)
