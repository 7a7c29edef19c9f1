"""Prompts mined from conversations: what users asked once, long enough, and not known from a table of pairs.

The published solution shuffled without a seed and dropped repeated prompts round by round; here the order is stable,
and no prompt stands twice.
"""

import hashlib
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsdm_arena.config import MiningConfig
from wsdm_arena.generation.conversations import (
    MiningError,
    Shard,
    as_bytes,
    check_shards,
    decode_text,
    first_line,
    read_user_turns,
)
from wsdm_arena.generation.mining_report import FAULTS, LanguageCounts, MiningReport
from wsdm_arena.generation.prompt_tables import PromptTables
from wsdm_arena.preferences.pair_ids import prompt_group

logger = logging.getLogger(__name__)

Excluded = Path | pd.DataFrame


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
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", suffix=".partial", dir=output.parent) as directory:
            scratch = Path(directory)
            with PromptTables(scratch, memory_limit=memory_limit, threads=threads) as tables:
                counts = _read_conversations(checked, tables, read_ahead=threads != 1, progress=progress)
                counts.update(_judge_prompts(tables, mining, seed=seed, excluded=known))
                languages = tables.choose()
                _check(counts, languages, mining)
                num_written = tables.write(scratch / "prompts", max_prompts)
            _put_in_place(scratch / "prompts", output)
    except OSError as error:
        raise MiningError(
            f"{output}: cannot be written ({error}). Free space there, or choose another place."
        ) from error
    report = MiningReport.from_counts(counts, languages, num_written, checked)
    logger.info(
        "prompts: %d in the first language and %d in others, of %d conversations",
        report.num_first_language,
        report.num_others,
        report.num_conversations,
    )
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
    """Collect the prompt groups of all tables, their texts repaired as those of conversations are."""
    return {prompt_group(decode_text(content)[0]) for table in tables for content in _prompts(table)}


def _prompts(table: Excluded) -> Iterator[bytes]:
    """Prompts of a table as bytes, null ones left out."""
    cure = "Tables of pairs to exclude need a column prompt."
    if isinstance(table, pd.DataFrame):
        if "prompt" not in table:
            raise MiningError(f"a table to exclude has no column 'prompt'; there are {list(table)}. {cure}")
        yield from (text.encode("utf-8", "surrogatepass") for text in table["prompt"] if isinstance(text, str))
        return
    try:
        with pq.ParquetFile(table) as file:
            if "prompt" not in file.schema_arrow.names:
                raise MiningError(f"{table}: no column 'prompt'; there are {file.schema_arrow.names}. {cure}")
            for batch in file.iter_batches(4_096, columns=["prompt"]):
                yield from as_bytes(batch.column("prompt")).drop_null().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise MiningError(f"{table}: cannot be read as Parquet ({first_line(error)}). {cure}") from error


def _check(counts: Counter[str], languages: LanguageCounts, mining: MiningConfig) -> None:
    if not languages:
        reasons = ", ".join(f"{name.replace('_', ' ')}: {counts[name]}" for name in FAULTS)
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
