"""Prompts mined from conversations: what users asked once, long enough, and not known from a table of pairs.

Stricter than the published solution, which counted repeats by the texts but shuffled without a seed and let a prompt
of two different conversations stand twice until its round.
"""

import hashlib
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsdm_arena.config import MiningConfig
from wsdm_arena.generation.conversations import (
    MiningError,
    Shard,
    check_shards,
    decode_text,
    first_line,
    read_user_turns,
)
from wsdm_arena.generation.prompt_tables import PromptTables
from wsdm_arena.preferences.pair_ids import prompt_group

logger = logging.getLogger(__name__)

Excluded = Path | pd.DataFrame
Languages = list[tuple[bool, str | None, int]]
"""As :meth:`~wsdm_arena.generation.prompt_tables.PromptTables.choose` returns them."""

_FAULTS = ("blank", "too_short", "too_long", "excluded")
"""Why the prompt of a conversation that occurs once is dropped by itself."""


@dataclass(frozen=True)
class MiningReport:
    """What became of the conversations: all are counted, each at the first reason that drops it."""

    num_conversations: int
    num_without_user_turn: int
    num_repeated: int
    """Conversations whose user turns occur more than once, all of them."""
    num_unique: int
    """Conversations whose user turns occur once; their sum of reasons and prompts follows."""
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
    languages: dict[str, int] = field(default_factory=dict)
    """Prompts before the limit by language as the conversations spell it; those without one under "null"."""
    conversations_by_shard: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)


def mine_prompts(
    shards: Sequence[Path],
    *,
    output: Path,
    mining: MiningConfig,
    seed: int,
    excluded: Iterable[Excluded] = (),
    max_prompts: tuple[int | None, int | None] = (None, None),
    threads: int | None = None,
    memory_limit: str = "1GB",
    progress: Callable[[int, int], None] | None = None,
) -> MiningReport:
    """Mine prompts from conversations, and shuffle them.

    A conversation is known by the whole sequence of its user turns. Of those that occur once among all conversations,
    the first user turn becomes a prompt if it is in no excluded table and long enough: in the first language by words
    as ``str.split`` counts them, in all others by characters. A prompt that two such conversations share is taken
    from the one whose user turns have the lower hash. The shuffle orders prompts by a hash of seed and prompt; the
    order of shards and the number of threads change nothing.

    Args:
        shards: Parquet files in lmsys-chat-1m's format; read are the columns ``conversation`` and ``language``.
        output: Parquet file with ``prompt_group``, ``prompt``, ``language`` (null where the conversation's is),
            ``is_first_language`` and ``position`` (from 0 in the shuffled order of its kind). It appears complete or
            not at all.
        mining: Filters.
        seed: Of the shuffle, below 2**64.
        excluded: Tables, or Parquet files of tables, whose column ``prompt`` holds prompts not to mine; null ones
            exclude nothing.
        max_prompts: Most prompts to write in the first language and in all others; None: all.
        threads: None: one for each core; 1 also does without reading ahead.
        memory_limit: Of the tables that grow with the number of conversations; beyond it they go to disk, beside
            ``output``. Reading takes up to some 200 MB besides.
        progress: Told the numbers of conversations read and of all.

    Returns:
        What became of the conversations.

    Raises:
        MiningError: A shard or excluded table is missing, unreadable or lacks a column; no conversation has a user
            turn, or no prompt is left; memory and disk do not suffice.
    """
    checked = check_shards(shards)
    known = _read_excluded(excluded)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", suffix=".partial", dir=output.parent) as directory:
        scratch = Path(directory)
        with PromptTables(scratch, memory_limit=memory_limit, threads=threads) as tables:
            counts = _read_conversations(checked, tables, read_ahead=threads != 1, progress=progress)
            counts |= _judge_prompts(tables, mining, seed=seed, excluded=known)
            languages = tables.choose()
            _check(counts, languages, mining)
            num_written = tables.write(scratch / "prompts", max_prompts)
        _put_in_place(scratch / "prompts", output)
    report = _summarize(counts, languages, num_written, checked)
    logger.info("prompts mined from conversations: %s", report.to_dict())
    return report


def hash_sequence(sequence: bytes) -> bytes:
    """Name a conversation by its user turns (:attr:`~wsdm_arena.generation.conversations.UserTurns.sequences`)."""
    return hashlib.blake2b(sequence, digest_size=16, person=b"user turns").digest()


def has_words(text: str, min_words: int) -> bool:
    """Tell whether ``len(text.split()) >= min_words``, without splitting more than it takes."""
    return min_words == 0 or len(text.split(None, min_words - 1)) >= min_words


def _read_conversations(
    shards: Sequence[Shard], tables: PromptTables, *, read_ahead: bool, progress: Callable[[int, int], None] | None
) -> Counter[str]:
    """Put all conversations into the tables."""
    counts: Counter[str] = Counter()
    num_all = sum(shard.num_conversations for shard in shards)
    for turns in read_user_turns(shards, read_ahead=read_ahead):
        tables.add_conversations(list(map(hash_sequence, turns.sequences.to_pylist())), turns.prompts, turns.languages)
        counts["all"] += turns.num_conversations
        counts["with_user_turn"] += len(turns.prompts)
        if progress is not None:
            progress(counts["all"], num_all)
    if not counts["with_user_turn"]:
        raise MiningError(f"none of {counts['all']} conversations has a turn whose role is 'user'. Rename the roles.")
    return counts


def _judge_prompts(tables: PromptTables, mining: MiningConfig, *, seed: int, excluded: set[str]) -> Counter[str]:
    """Put the prompts of conversations that occur once into the tables, unless a rule speaks against them."""
    counts = Counter(unique=tables.find_unique())
    key = seed.to_bytes(8, "little")
    for conversations in tables.read_unique():
        is_first_language = pc.fill_null(pc.equal(conversations.languages, mining.first_language), False)
        counts["in_first_language"] += is_first_language.true_count
        rows, groups = [], []
        for row, (content, is_first) in enumerate(
            zip(conversations.prompts, is_first_language.to_pylist(), strict=True)
        ):
            text, was_repaired = decode_text(content)
            fault = _find_fault(text, is_first, mining)
            group = "" if fault else prompt_group(text)
            if fault or group in excluded:
                counts[fault or "excluded"] += 1
                continue
            if was_repaired:
                tables.replace_prompt(conversations, row, text.encode())
            counts["repaired"] += was_repaired
            counts["with_null_bytes"] += "\0" in text
            rows.append(row)
            groups.append(group)
        counts["candidates"] += len(rows)
        shuffled = [_shuffled_place(group, key) for group in groups]
        tables.add_candidates(conversations, rows, is_first_language, groups, shuffled)
    return counts


def _find_fault(text: str, is_first_language: bool, mining: MiningConfig) -> str | None:
    """Apply the filters of length to a prompt."""
    if not text or text.isspace():
        return "blank"
    if not (has_words(text, mining.min_words) if is_first_language else len(text) >= mining.min_characters):
        return "too_short"
    if mining.max_characters is not None and len(text) > mining.max_characters:
        return "too_long"
    return None


def _shuffled_place(group: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8, key=key, person=b"shuffle").digest(), "little")


def _read_excluded(tables: Iterable[Excluded]) -> set[str]:
    """Collect the prompt groups of all tables."""
    return {
        prompt_group(prompt) for table in tables for prompt in _prompts(table) if isinstance(prompt, str)
    }  # not null


def _prompts(table: Excluded) -> Iterator[Any]:
    cure = "Tables of pairs to exclude need a column prompt."
    if isinstance(table, pd.DataFrame):
        if "prompt" not in table:
            raise MiningError(f"a table to exclude has no column 'prompt'; there are {list(table)}. {cure}")
        yield from table["prompt"]
        return
    try:
        with pq.ParquetFile(table) as file:
            if "prompt" not in file.schema_arrow.names:
                raise MiningError(f"{table}: no column 'prompt'; there are {file.schema_arrow.names}. {cure}")
            for batch in file.iter_batches(4_096, columns=["prompt"]):
                yield from batch.column("prompt").to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise MiningError(f"{table}: cannot be read as Parquet ({first_line(error)}). {cure}") from error


def _check(counts: Counter[str], languages: Languages, mining: MiningConfig) -> None:
    if not languages:
        reasons = ", ".join(f"{name.replace('_', ' ')}: {counts[name]}" for name in _FAULTS)
        raise MiningError(
            f"no prompt is left of {counts['all']} conversations, {counts['unique']} of which occur once ({reasons}). "
            "Relax generation.mining."
        )
    if not counts["in_first_language"]:
        logger.warning(
            "no conversation that occurs once is in %r (generation.mining.first_language); prompts are in %s",
            mining.first_language,
            [name for _, name, _ in languages[:5]],
        )


def _put_in_place(finished: Path, output: Path) -> None:
    with finished.open("rb") as file:
        os.fsync(file.fileno())  # or a power cut could leave the name and lose the contents
    os.replace(finished, output)


def _summarize(counts: Counter[str], languages: Languages, num_written: int, shards: Sequence[Shard]) -> MiningReport:
    num_first_language = sum(count for is_first, _, count in languages if is_first)
    num_prompts = sum(count for _, _, count in languages)
    return MiningReport(
        num_conversations=counts["all"],
        num_without_user_turn=counts["all"] - counts["with_user_turn"],
        num_repeated=counts["with_user_turn"] - counts["unique"],
        num_unique=counts["unique"],
        **{f"num_{name}": counts[name] for name in _FAULTS},
        num_repeated_prompts=counts["candidates"] - num_prompts,
        num_first_language=num_first_language,
        num_others=num_prompts - num_first_language,
        num_written=num_written,
        num_repaired=counts["repaired"],
        num_with_null_bytes=counts["with_null_bytes"],
        languages={"null" if name is None else name: count for _, name, count in languages},
        conversations_by_shard={str(shard.path): shard.num_conversations for shard in shards},
    )
