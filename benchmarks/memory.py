"""Measure the peak memory of tokenizing and planning a table, minus the table's own.

    python benchmarks/memory.py [--limit-mb 300]

A child process for each size loads the table, notes its memory, builds the token store, opens it and plans an epoch;
what counts is the highest memory since then, imports and tokenizer included. 10,000 rows have whole texts; in 100,000
rows every text is cut to 400 characters, so that it takes a minute or two. Prints one JSON object last.
"""

import argparse
import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

SIZES = ((10_000, None), (100_000, 400))
"""Rows, and the most characters of a text."""


def write_table(path: Path, num_rows: int, max_characters: int | None) -> int:
    """Write pairs drawn from real or generated battles; return their characters."""
    from tokenizing import SHARED_DATA, read_battles

    battles, _ = read_battles(SHARED_DATA, 2_000)
    chosen = np.random.default_rng(0).integers(len(battles), size=num_rows)
    columns = zip(*(battles[index] for index in chosen), strict=True)
    texts = [[text[:max_characters] for text in column] for column in columns]
    frame = pd.DataFrame(dict(zip(("prompt", "response_a", "response_b"), texts, strict=True)))
    frame.insert(0, "pair_id", [f"{index:032x}" for index in range(num_rows)])
    frame.to_parquet(path)
    return sum(len(text) for column in texts for text in column)


def measure(table: Path, tokenizer: Path, root: Path) -> dict[str, float]:
    """What a child does: load, tokenize, plan; megabytes beyond those after loading."""
    pairs = pd.read_parquet(table)
    table_mb = pairs.memory_usage(deep=True).sum() / 1e6
    before = _reset_peak()
    start = time.perf_counter()
    store = _tokenize(pairs, tokenizer, root)
    middle = time.perf_counter()
    after_tokenizing = _read_status("VmHWM")
    num_updates = _plan(store)
    return {
        "table_mb": table_mb,
        "process_with_table_mb": before,
        "tokenizing_mb": after_tokenizing - before,
        "tokenizing_and_planning_mb": _read_status("VmHWM") - before,
        "tokenizing_s": middle - start,
        "planning_s": time.perf_counter() - middle,
        "updates_planned": num_updates,
        "tokens": int(store.lengths.sum()),
        "torch_imported": "torch" in sys.modules,
    }


def _tokenize(pairs: pd.DataFrame, tokenizer: Path, root: Path):
    import yaml

    from wsdm_arena.config import TemplateConfig, TruncationConfig
    from wsdm_arena.prompts.store import TokenStore, build_token_store

    parameters = yaml.safe_load((Path(__file__).parents[1] / "conf/base/parameters.yml").read_text())
    path = build_token_store(
        pairs,
        table="battles",
        tokenizer_dir=tokenizer,
        template=TemplateConfig.model_validate(parameters["template"]),
        system_role=True,
        truncation=TruncationConfig.model_validate(parameters["truncation"]),
        policy="shared_budget",
        root=root,
    )
    store = TokenStore.open(path)
    rows = store.rows(pairs["pair_id"])
    assert len(store.sequence(int(rows[-1]), "ba")) == store.lengths[rows[-1]]
    return store


def _plan(store) -> int:
    from wsdm_arena.batching.planner import Planner

    planner = Planner(
        [np.arange(len(store))],
        store.lengths,
        battles_per_update=80,
        epochs=1,
        seed=3,
        world_size=4,
        max_tokens_per_micro_batch=16_384,
    )
    return sum(1 for _ in planner)


def _reset_peak() -> float:
    """Megabytes in use now, without what loading has freed; the kernel's record of the peak starts anew."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _read_status("VmRSS")


def _read_status(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1e3


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of every size; 1 if one is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit-mb", type=float, default=300)
    parser.add_argument("--child", nargs=3, type=Path, metavar=("TABLE", "TOKENIZER", "ROOT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return 0
    from tokenizing import SHARED_DATA, import_tiny_tokenizers, read_battles

    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        texts = tuple(text for battle in read_battles(SHARED_DATA, 300)[0] for text in battle)
        tokenizer = Path(scratch) / "tokenizer"
        import_tiny_tokenizers().llama_style(16_000, texts).save_pretrained(tokenizer)
        for num_rows, max_characters in SIZES:
            table = Path(scratch) / f"{num_rows}.parquet"
            num_characters = write_table(table, num_rows, max_characters)
            command = [sys.executable, __file__, "--child", table, tokenizer, Path(scratch) / "stores"]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            cut = {"texts_cut_to_characters": max_characters}  # null: whole
            results.append({"rows": num_rows, **cut, "characters_per_row": num_characters / num_rows, **figures})
    peaks = [result["tokenizing_and_planning_mb"] for result in results]
    passed = max(peaks) <= arguments.limit_mb
    print(json.dumps({"benchmark": "memory", "limit_mb": arguments.limit_mb, "results": results, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
