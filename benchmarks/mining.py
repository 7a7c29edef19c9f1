"""Compare mining prompts from conversations with the same rules in pandas.

    python benchmarks/mining.py [--repetitions 3]

Conversations are simulated, in the format of lmsys-chat-1m with all its columns: random words in six scripts, two
turns on average, 45 % of the conversations repetitions of popular ones, lengths of about that data set's. The way
compared with is the published recipe step by step in pandas and Python strings. It is timed twice: reading whole
tables, as one does, and reading only the two columns that it uses.

Every run has a process of its own, whose imports are not timed; those of the ways alternate. Ours decodes in a second
thread, so the machine must have a core to spare. All must find the same prompts, in the same order. Peaks of memory
are those of whole processes. Prints one JSON object last.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SIZES = (100_000, 400_000)
NUM_SHARDS = 6
NUM_EXCLUDED = 5_000
REPEATED_SHARE = 0.45
SEED = 0

REQUIRED_RATIO = 6
MAX_MEMORY_GROWTH = 1.5
MAX_MEMORY_MB = 2_000

POOL_CHARACTERS = 2_000_000
MAX_PROMPT_CHARACTERS, MAX_ANSWER_CHARACTERS = 20_000, 8_000
LANGUAGES: dict[str, tuple[Sequence[int], float, int]] = {
    "English": (range(0x61, 0x7B), 0.78, 6),
    "Chinese": (range(0x4E00, 0x5E00), 0.06, 40),
    "Russian": (range(0x430, 0x450), 0.05, 7),
    "German": ([*range(0x61, 0x7B), 0xE4, 0xF6, 0xFC, 0xDF], 0.05, 7),
    "Arabic": (range(0x627, 0x64A), 0.03, 6),
    "Japanese": (range(0x3041, 0x3097), 0.03, 30),
}
"""Letters, share of the conversations, letters between two spaces."""
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


class ConversationWriter:
    """Writes shards of simulated conversations; the same ones for the same number."""

    def __init__(self, num_conversations: int) -> None:
        self._rng = np.random.default_rng(SEED)
        self._pools = [self._random_words(letters, every) for letters, _, every in LANGUAGES.values()]
        self._num_popular = max(1, num_conversations // 20)
        self._popular: list[tuple[int, list[str]]] = []

    def write(self, path: Path, num_conversations: int) -> None:
        """Write one shard."""
        shares = np.array([share for _, share, _ in LANGUAGES.values()])
        languages = self._rng.choice(len(LANGUAGES), num_conversations, p=shares / shares.sum())
        num_turns = np.minimum(self._rng.geometric(0.5, num_conversations), 20)
        user_turns = self._texts(languages, num_turns, np.log(110), 1.2, MAX_PROMPT_CHARACTERS)
        languages = languages.tolist()
        self._popular = self._popular or list(zip(languages, user_turns, strict=True))[: self._num_popular]
        for index in np.flatnonzero(self._rng.random(num_conversations) < REPEATED_SHARE).tolist():
            languages[index], user_turns[index] = self._popular[self._rng.integers(len(self._popular))]
        num_turns = np.array([len(turns) for turns in user_turns])
        answers = self._texts(np.array(languages), num_turns, np.log(660), 0.9, MAX_ANSWER_CHARACTERS)
        pq.write_table(self._table(user_turns, answers, languages, num_turns), path, row_group_size=20_000)

    def _random_words(self, letters: Sequence[int], every: int) -> str:
        codes = self._rng.choice(np.array(letters, dtype="<u4"), POOL_CHARACTERS)
        codes[self._rng.random(POOL_CHARACTERS) < 1 / every] = ord(" ")
        return codes.tobytes().decode("utf-32-le")

    def _texts(
        self, languages: np.ndarray, num_turns: np.ndarray, mean: float, sigma: float, longest: int
    ) -> list[list[str]]:
        """Pieces of the pools, of lognormal lengths; a list for each conversation."""
        total = int(num_turns.sum())
        lengths = np.clip(self._rng.lognormal(mean, sigma, total), 1, longest).astype(np.int64).tolist()
        starts = self._rng.integers(0, POOL_CHARACTERS - longest, total).tolist()
        owners = np.repeat(languages, num_turns).tolist()
        pieces = [self._pools[o][start : start + n] for o, start, n in zip(owners, starts, lengths, strict=True)]
        ends = np.cumsum(num_turns).tolist()
        return [pieces[end - n : end] for end, n in zip(ends, num_turns.tolist(), strict=True)]

    def _table(
        self, user_turns: list[list[str]], answers: list[list[str]], languages: list[int], num_turns: np.ndarray
    ) -> pa.Table:
        contents = [
            text
            for turns, replies in zip(user_turns, answers, strict=True)
            for pair in zip(turns, replies, strict=True)
            for text in pair
        ]
        roles = pc.take(pa.array(["user", "assistant"]), pa.array(np.arange(len(contents)) % 2))
        messages = pa.StructArray.from_arrays([pa.array(contents), roles], ["content", "role"])
        offsets = pa.array(np.concatenate(([0], np.cumsum(2 * num_turns))), pa.int32())
        names = list(LANGUAGES)
        return pa.table(
            {
                "conversation_id": [self._rng.bytes(16).hex() for _ in languages],
                "model": ["vicuna-13b"] * len(languages),
                "conversation": pa.ListArray.from_arrays(offsets, messages),
                "turn": num_turns,
                "language": [names[number] for number in languages],
                "openai_moderation": pa.ListArray.from_arrays(offsets, self._moderation(len(contents))),
                "redacted": np.zeros(len(languages), dtype=bool),
            }
        )

    def _moderation(self, num_messages: int) -> pa.StructArray:
        flags = pa.array(np.zeros(num_messages, dtype=bool))
        scores = [pa.array(self._rng.random(num_messages)) for _ in CATEGORIES]
        parts = (pa.StructArray.from_arrays(c, list(CATEGORIES)) for c in ([flags] * len(CATEGORIES), scores))
        return pa.StructArray.from_arrays([*parts, flags], ["categories", "category_scores", "flagged"])


def write_conversations(folder: Path, num_conversations: int) -> None:
    """Write all shards, and a table of pairs whose prompts are not to be mined."""
    writer = ConversationWriter(num_conversations)
    edges = np.linspace(0, num_conversations, NUM_SHARDS + 1).astype(int)
    for number, size in enumerate(np.diff(edges).tolist()):
        writer.write(folder / f"train-{number:05d}-of-{NUM_SHARDS:05d}.parquet", size)
    last = pq.read_table(folder / f"train-{NUM_SHARDS - 1:05d}-of-{NUM_SHARDS:05d}.parquet", columns=["conversation"])
    prompts = [turns[0]["content"] for turns in last.column(0)[:NUM_EXCLUDED].to_pylist()]
    pd.DataFrame({"prompt": prompts}).to_parquet(folder / "pairs.parquet")


def mine_with_pandas(folder: Path, output: Path, columns: list[str] | None) -> float:
    """The recipe's steps in its words; seconds."""
    import hashlib

    from wsdm_arena.preferences.pair_ids import prompt_group

    start = time.perf_counter()
    shards = [pd.read_parquet(shard, columns=columns) for shard in sorted(folder.glob("train-*.parquet"))]
    table = pd.concat(shards, ignore_index=True)
    for role in ("user", "assistant"):
        table[f"{role}_turns"] = table["conversation"].map(
            lambda turns, role=role: tuple(turn["content"] for turn in turns if turn["role"] == role)
        )
    table = table[table["user_turns"].map(table["user_turns"].value_counts()) == 1]
    table["prompt"] = table["user_turns"].str[0]
    table = table[~table["prompt"].isin(pd.read_parquet(folder / "pairs.parquet")["prompt"])]
    is_english = table["language"] == "English"
    long_enough = (table["prompt"].str.split().str.len() > 18).where(is_english, table["prompt"].str.len() >= 45)
    table = table[long_enough & (table["prompt"].str.strip() != "")].drop_duplicates("prompt")
    table["prompt_group"] = table["prompt"].map(prompt_group)
    key = SEED.to_bytes(8, "little")

    def shuffle(group: str) -> int:
        digest = hashlib.blake2b(group.encode(), digest_size=8, key=key, person=b"shuffle").digest()
        return int.from_bytes(digest, "little")

    table["order"] = table["prompt_group"].map(shuffle)
    table["is_first_language"] = table["language"] == "English"
    table = table.sort_values(["is_first_language", "order"], ascending=[False, True])
    table["position"] = table.groupby("is_first_language").cumcount()
    kept = ["prompt_group", "prompt", "language", "is_first_language", "position"]
    table[kept].to_parquet(output, index=False)
    return time.perf_counter() - start


def mine(folder: Path, output: Path) -> float:
    """Our way; seconds."""
    from wsdm_arena.config import MiningConfig
    from wsdm_arena.generation.mining import mine_prompts

    start = time.perf_counter()
    shards = sorted(folder.glob("train-*.parquet"))
    mine_prompts(shards, output=output, mining=MiningConfig(), seed=SEED, excluded=[folder / "pairs.parquet"])
    return time.perf_counter() - start


WAYS: dict[str, Callable[[Path, Path], float]] = {
    "ours": mine,
    "pandas": lambda folder, output: mine_with_pandas(folder, output, None),
    "pandas_two_columns": lambda folder, output: mine_with_pandas(folder, output, ["conversation", "language"]),
}


def run_child(way: str, folder: Path, output: Path) -> dict[str, float]:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--child", way, folder, output]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(way: str, folder: Path, output: Path) -> dict[str, float]:
    """What a child does."""
    import wsdm_arena.generation.mining  # noqa: F401  # imports are not timed

    before = time.process_time()
    seconds = WAYS[way](folder, output)
    return {"seconds": seconds, "cpu_seconds": time.process_time() - before, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Of this process alone: ``ru_maxrss`` would start from what the parent had when it forked."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1e3


def compare(scratch: Path, num_conversations: int, ways: Sequence[str], repetitions: int) -> dict:
    """Medians of every way on conversations of one number, after checking that they agree."""
    folder = scratch / str(num_conversations)
    folder.mkdir()
    write_conversations(folder, num_conversations)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way in ways:
            runs[way].append(run_child(way, folder, scratch / f"{way}.parquet"))
    tables = {way: pd.read_parquet(scratch / f"{way}.parquet") for way in ways}
    ours = tables["ours"]
    for table in tables.values():
        pd.testing.assert_frame_equal(ours, table)
    medians = {way: {name: statistics.median(run[name] for run in runs[way]) for name in runs[way][0]} for way in ways}
    size_mb = sum(file.stat().st_size for file in folder.glob("train-*")) / 1e6
    return {"conversations": num_conversations, "shards_mb": size_mb, "prompts": len(ours), **medians}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--child", nargs=3, metavar=("WAY", "FOLDER", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        way, folder, output = arguments.child
        print(json.dumps(measure(way, Path(folder), Path(output))))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        small = compare(Path(scratch), SIZES[0], list(WAYS), arguments.repetitions)
        large = compare(Path(scratch), SIZES[1], ["ours"], arguments.repetitions)
    ratios = {way: small[way]["seconds"] / small["ours"]["seconds"] for way in WAYS if way != "ours"}
    growth = large["ours"]["peak_mb"] / small["ours"]["peak_mb"]
    passed = (
        ratios["pandas"] >= REQUIRED_RATIO
        and growth <= MAX_MEMORY_GROWTH
        and max(small["ours"]["peak_mb"], large["ours"]["peak_mb"]) <= MAX_MEMORY_MB
    )
    summary = {"benchmark": "mining", "results": [small, large], "ratios": ratios, "memory_growth": growth}
    bounds = {"required_ratio": REQUIRED_RATIO, "max_memory_growth": MAX_MEMORY_GROWTH, "max_memory_mb": MAX_MEMORY_MB}
    print(json.dumps({**summary, **bounds, "cores": os.cpu_count(), "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
