"""Conversations in the format of lmsys-chat-1m, read from Parquet shards a bounded number of bytes at a time.

Texts are handed on as the bytes that stand in the file: a shard may hold texts that are no valid UTF-8 (halves of
surrogate pairs that came through JSON), and the Parquet readers of DuckDB and polars refuse such a file as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsdm_arena.errors import UserError

MAX_BATCH_CONVERSATIONS = 1_024
MAX_BATCH_BYTES = 32 * 2**20
"""A batch holds about this much of a shard, uncompressed, where its conversations are longer than usual."""

_CURE = (
    "Conversations need the columns conversation (a list of records with content and role) and language, as "
    "lmsys-chat-1m has them."
)

T = TypeVar("T")


class MiningError(UserError, ValueError):
    """Conversations or tables of prompts are missing or not what they should be; nothing was written."""


class Shard(NamedTuple):
    """One file of conversations."""

    path: Path
    num_conversations: int
    batch_size: int
    """Conversations that are read at once."""


class UserTurns(NamedTuple):
    """What users said, in N conversations that have a turn of the user.

    Attributes:
        num_conversations: Of the batch, those without a user turn included.
        sequences: ``(N,)`` binary: all turns of the user, each with its size in front, so that two conversations are
            equal here exactly where their user turns are.
        prompts: ``(N,)`` binary: the first turn of the user, UTF-8 that may be invalid; empty where null.
        languages: ``(N,)`` string, as the shard spells it; may be null.
    """

    num_conversations: int
    sequences: pa.BinaryArray
    prompts: pa.BinaryArray
    languages: pa.StringArray


def check_shards(paths: Sequence[Path]) -> list[Shard]:
    """Look at the footers of all shards.

    Raises:
        MiningError: None was named, one was named twice, is missing, is no Parquet file or lacks a column.
    """
    if not paths:
        raise MiningError("no shard of conversations was named: name the Parquet files to mine")
    seen: dict[Path, Path] = {}
    for path in map(Path, paths):
        if (other := seen.setdefault(path.resolve(), path)) is not path:
            raise MiningError(f"{path}: named twice (as {other}), so that all its conversations would be repetitions")
    return [_check_shard(path) for path in map(Path, paths)]


def read_user_turns(shards: Iterable[Shard], *, read_ahead: bool = True) -> Iterator[UserTurns]:
    """Read what users said, a batch of conversations at a time, in the order of the shards.

    Args:
        shards: As :func:`check_shards` returns them.
        read_ahead: Decode the next batch in a thread while the caller works on the last.

    Raises:
        MiningError: A shard is damaged.
    """
    batches = (batch for shard in shards for batch in _read_shard(shard))
    for batch in _read_ahead(batches) if read_ahead else batches:
        yield _user_turns(batch.column("conversation"), batch.column("language"))


def decode_text(content: bytes) -> tuple[str, bool]:
    """Decode UTF-8 and repair what is none: surrogate pairs are joined, the rest becomes U+FFFD.

    Returns:
        A valid text, and whether it had to be repaired.
    """
    try:
        return content.decode(), False
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return content.decode("utf-8", "replace"), True
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"), True


def as_bytes(texts: pa.Array) -> pa.BinaryArray:
    """View texts of any Arrow type as the bytes they are stored in, valid or not."""
    return (texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts).cast(pa.binary())


def first_line(error: Exception) -> str:
    """What an error says, without the advice that some libraries add."""
    return str(error).partition("\n")[0]


def _check_shard(path: Path) -> Shard:
    if not path.is_file():
        raise MiningError(f"{path}: no such file. Download the shard, or correct the path.")
    try:
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
    except (OSError, pa.ArrowException) as error:
        raise MiningError(f"{path}: no Parquet file ({first_line(error)}). Download the shard again.") from error
    for column, fault in _find_faults(schema):
        raise MiningError(f"{path}: column {column!r} {fault}; there are {schema.names}. {_CURE}")
    return Shard(path, metadata.num_rows, _batch_size(metadata))


def _find_faults(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    for column in ("conversation", "language"):
        if column not in schema.names:
            yield column, "is missing"
            return
    kind = schema.field("conversation").type
    if not ((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_struct(kind.value_type)):
        yield "conversation", f"holds {kind} instead of lists of records"
        return
    fields = {field.name: field.type for field in kind.value_type}
    for name in ("content", "role"):
        if not _is_text(fields.get(name)):
            yield "conversation", f"has {fields.get(name, 'nothing')} as {name!r} instead of texts"
    if not _is_text(schema.field("language").type):
        yield "language", f"holds {schema.field('language').type} instead of texts"


def _is_text(kind: pa.DataType | None) -> bool:
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)  # a column of nulls has no type
    return kind is not None and any(test(kind) for test in tests)


def _batch_size(metadata: Any) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    bytes_each = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(MAX_BATCH_CONVERSATIONS, int(MAX_BATCH_BYTES / max(bytes_each, 1))))


def _read_shard(shard: Shard) -> Iterator[pa.RecordBatch]:
    try:
        # Buffered and not fetched whole: else a row group as long as its shard would lie in memory at once.
        with pq.ParquetFile(shard.path, buffer_size=2**20, pre_buffer=False) as file:
            yield from file.iter_batches(shard.batch_size, columns=["conversation", "language"], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise MiningError(f"{shard.path}: damaged ({first_line(error)}). Download the shard again.") from error


def _user_turns(conversations: pa.Array, languages: pa.Array) -> UserTurns:
    offsets = conversations.offsets.to_numpy()  # a null list has no turns: Parquet knows no other null
    turns = conversations.values[offsets[0] : offsets[-1]]  # flatten() would copy all texts
    columns = dict(zip((field.name for field in turns.type), turns.flatten(), strict=True))  # null where a turn is
    is_user = pc.fill_null(pc.equal(as_bytes(columns["role"]), b"user"), False)
    owners = np.repeat(np.arange(len(conversations)), np.diff(offsets))[is_user.to_numpy(zero_copy_only=False)]
    num_turns = np.bincount(owners, minlength=len(conversations))
    speaking = np.flatnonzero(num_turns)
    edges = np.concatenate(([0], np.cumsum(num_turns[speaking]))).astype(np.int32)
    contents = as_bytes(columns["content"].filter(is_user))
    sequences = pc.binary_join(pa.ListArray.from_arrays(edges, _with_sizes(contents)), b"")
    prompts = pc.fill_null(contents.take(pa.array(edges[:-1])), b"")
    return UserTurns(len(conversations), sequences, prompts, _as_valid_texts(languages.take(pa.array(speaking))))


def _with_sizes(contents: pa.BinaryArray) -> pa.BinaryArray:
    """Put sizes in front of contents; a null one differs from all others."""
    sizes = pc.binary_length(contents).cast(pa.string()).cast(pa.binary())
    return pc.fill_null(pc.binary_join_element_wise(sizes, contents, b":"), b"null;")


def _as_valid_texts(texts: pa.Array) -> pa.StringArray:
    contents = as_bytes(texts)
    try:
        return contents.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([None if text is None else decode_text(text)[0] for text in contents.to_pylist()], pa.string())


def _read_ahead(batches: Iterator[T]) -> Iterator[T]:
    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = reader.submit(next, batches, None)
            yield batch
