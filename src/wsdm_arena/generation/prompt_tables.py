"""The part of mining that needs all conversations at once: which occur once, which prompts do, and the shuffle.

DuckDB holds a record of fixed size for each conversation, within its memory limit and in a scratch directory beyond
it; texts wait in a spool. Every rule here is about sets and orders of stable hashes, so that the number of threads and
DuckDB's version make no difference.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsdm_arena.generation.conversations import MAX_BATCH_BYTES, MiningError, first_line
from wsdm_arena.generation.text_spool import TextSpool

PROMPT_SCHEMA = pa.schema(
    [
        pa.field("prompt_group", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("is_first_language", pa.bool_(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
    ]
)
"""Columns of mined prompts; ``position`` counts from 0 among those of the first language and among all others."""

ROWS_PER_BATCH = 8_192
ROWS_PER_INSERT = 32_768


class Conversations(NamedTuple):
    """Some conversations that occur once.

    Attributes:
        hashes: ``(N,)`` binary, of all the user turns.
        prompts: First user turns, N times bytes of UTF-8 that may be invalid.
        starts: ``(N,)``, where the prompts begin in the spool.
        sizes: ``(N,)``, their bytes.
        languages: ``(N,)`` string, may be null.
    """

    hashes: pa.BinaryArray
    prompts: list[bytes]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    languages: pa.StringArray


_CREATE = """
CREATE TABLE conversations (conversation BLOB, start BIGINT, size BIGINT, language VARCHAR);
CREATE TABLE candidates (
    conversation BLOB, start BIGINT, size BIGINT, language VARCHAR, is_first_language BOOLEAN,
    prompt_group VARCHAR, shuffled UBIGINT
);
"""
_FIND_UNIQUE = """
CREATE TABLE unique_conversations AS
    SELECT conversation FROM conversations GROUP BY conversation HAVING count(*) = 1;
"""
_READ_UNIQUE = """
SELECT conversation, start, size, language FROM conversations SEMI JOIN unique_conversations USING (conversation)
ORDER BY start, size
"""
_CHOOSE = """
CREATE TABLE prompts AS
    SELECT *, row_number() OVER (PARTITION BY is_first_language ORDER BY shuffled, prompt_group) - 1 AS position
    FROM (
        SELECT * FROM candidates QUALIFY row_number() OVER (PARTITION BY prompt_group ORDER BY conversation) = 1
    );
"""
_READ_PROMPTS = """
SELECT prompt_group, language, is_first_language, position, start, size FROM prompts
WHERE position < CASE WHEN is_first_language THEN ? ELSE ? END
ORDER BY is_first_language DESC, position
"""


class PromptTables:
    """Context manager that holds what is known of each conversation.

    Args:
        scratch: Existing directory that takes texts, and what else memory does not hold.
        memory_limit: DuckDB's, such as "1GB".
        threads: DuckDB's; None: one for each core.

    Raises:
        MiningError: The limit or the number of threads is none.
    """

    def __init__(self, scratch: Path, *, memory_limit: str, threads: int | None) -> None:
        config: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(scratch / "duckdb")}
        config |= {"preserve_insertion_order": "false"}  # takes less memory
        try:
            self._database = duckdb.connect(config=config | ({} if threads is None else {"threads": threads}))
        except duckdb.Error as error:
            raise MiningError(f"memory_limit={memory_limit!r}, threads={threads}: {first_line(error)}") from error
        self._database.execute(_CREATE)
        self._texts = TextSpool(scratch / "texts")
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._texts.__exit__(kind, error, trace)

    def add_conversations(self, hashes: Sequence[bytes], prompts: pa.BinaryArray, languages: pa.StringArray) -> None:
        """Add conversations by the hash of their user turns, each with its first one."""
        columns = {
            "conversation": pa.array(hashes, pa.binary()),
            "start": self._texts.append(prompts),
            "size": pc.binary_length(prompts).cast(pa.int64()),
            "language": languages,
        }
        self._waiting.append(pa.table(columns))
        if sum(map(len, self._waiting)) >= ROWS_PER_INSERT:
            self._insert_waiting()

    def find_unique(self) -> int:
        """Find the conversations that occur once; returns their number."""
        self._insert_waiting()
        self._execute(_FIND_UNIQUE)
        return self._execute("SELECT count(*) FROM unique_conversations").fetchall()[0][0]

    def read_unique(self) -> Iterator[Conversations]:
        """Conversations that occur once, a batch at a time."""
        for rows in self._read(_READ_UNIQUE):
            starts, sizes = rows["start"].to_numpy(), rows["size"].to_numpy()
            yield Conversations(
                rows["conversation"], self._texts.read(starts, sizes), starts.copy(), sizes.copy(), rows["language"]
            )

    def replace_prompt(self, conversations: Conversations, row: int, prompt: bytes) -> None:
        """Put another text in the place of a prompt."""
        conversations.prompts[row] = prompt
        conversations.starts[row] = self._texts.append(pa.array([prompt], pa.binary()))[0]
        conversations.sizes[row] = len(prompt)

    def add_candidates(
        self,
        conversations: Conversations,
        rows: Sequence[int],
        is_first_language: pa.BooleanArray,
        prompt_groups: Sequence[str],
        shuffled: Sequence[int],
    ) -> None:
        """Add prompts that nothing speaks against but other prompts.

        Args:
            conversations: N of them.
            rows: Those that have such a prompt, C of the N.
            is_first_language: ``(N,)``.
            prompt_groups: C names of prompts.
            shuffled: C places in the shuffled order, unsigned numbers of 64 bits.
        """
        taken = np.array(rows, dtype=np.int64)
        columns = {
            "conversation": conversations.hashes.take(pa.array(taken)),
            "start": conversations.starts[taken],
            "size": conversations.sizes[taken],
            "language": conversations.languages.take(pa.array(taken)),
            "is_first_language": is_first_language.take(pa.array(taken)),
            "prompt_group": pa.array(prompt_groups, pa.string()),
            "shuffled": pa.array(shuffled, pa.uint64()),
        }
        self._insert("candidates", pa.table(columns))

    def choose(self) -> list[tuple[bool, str | None, int]]:
        """Keep each prompt once, and shuffle.

        Returns:
            Whether it is the first language, its name, and how many prompts it has; the most frequent first.
        """
        self._execute(_CHOOSE)
        return self._execute(
            "SELECT is_first_language, language, count(*) FROM prompts GROUP BY ALL ORDER BY 3 DESC, 2"
        ).fetchall()

    def write(self, path: Path, limits: tuple[int | None, int | None]) -> int:
        """Write the chosen prompts to a Parquet file, those of the first language first, each kind by position.

        Args:
            path: The file.
            limits: Most prompts of the first language and of all others; None: all.

        Returns:
            Their number.
        """
        num_written = 0
        bounds = [2**62 if limit is None else limit for limit in limits]
        with pq.ParquetWriter(path, PROMPT_SCHEMA, use_dictionary=["language"]) as writer:
            for columns in self._read(_READ_PROMPTS, bounds):
                texts = self._texts.read(columns["start"].to_numpy(), columns["size"].to_numpy())
                columns["prompt"] = pa.array(texts, pa.binary()).cast(pa.string())
                arrays = [columns[field.name].cast(field.type) for field in PROMPT_SCHEMA]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=PROMPT_SCHEMA))
                num_written += len(texts)
        return num_written

    def _insert_waiting(self) -> None:
        if self._waiting:
            self._insert("conversations", pa.concat_tables(self._waiting))
            self._waiting.clear()

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._database.register("rows_to_add", rows)
        self._execute(f"INSERT INTO {table} SELECT * FROM rows_to_add")
        self._database.unregister("rows_to_add")

    def _execute(self, query: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._database.execute(query)
        except duckdb.Error as error:
            raise _exhausted(error) from error

    def _read(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[dict[str, pa.Array]]:
        """Read rows a batch at a time; batches are smaller where the texts of 8,192 would take too much memory."""
        cursor = self._database.cursor()  # of its own: rows may be inserted while these are read
        try:
            for batch in cursor.sql(query, params=list(parameters)).to_arrow_reader(ROWS_PER_BATCH):
                part = np.cumsum(batch.column("size").to_numpy()) // MAX_BATCH_BYTES
                edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), batch.num_rows]
                for start, end in pairwise(edges):
                    rows = batch.slice(start, end - start)
                    yield dict(zip(rows.schema.names, rows.columns, strict=True))
        except (duckdb.Error, pa.ArrowException) as error:
            raise _exhausted(error) from error


def _exhausted(error: Exception) -> MiningError:
    """The queries are fixed, so what fails is memory or the disk."""
    return MiningError(f"mining stopped: {first_line(error)}. Raise memory_limit, or free space on the disk.")
