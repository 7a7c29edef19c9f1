"""Measure balance, number of micro-steps and speed of the planner.

    python benchmarks/planner.py

Lengths are lognormal (median 1,000, sigma 0.7, clipped to 200-4,096), as in the chat arena; budget 16,384 tokens, 80
battles (160 sequences) a global batch. Prints one JSON object last.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence

import numpy as np

from wsdm_arena.batching.planner import Planner

BUDGET = 16_384
BATTLES_PER_UPDATE = 80


def draw_lengths(num_battles: int, seed: int) -> np.ndarray:
    """Tokens of a sequence of each battle."""
    lengths = np.random.default_rng(seed).lognormal(math.log(1_000), 0.7, num_battles)
    return np.clip(lengths, 200, 4_096).astype(np.int64)


def measure(world_size: int, lengths: np.ndarray) -> dict[str, float]:
    """Plan one epoch and compare the slowest rank of each micro-step with the mean."""
    start = time.perf_counter()
    planner = Planner(
        [np.arange(lengths.size)],
        lengths,
        battles_per_update=BATTLES_PER_UPDATE,
        epochs=1,
        seed=3,
        world_size=world_size,
        max_tokens_per_micro_batch=BUDGET,
    )
    plans = list(planner)
    seconds = time.perf_counter() - start
    slowest = total = 0
    minimal = []
    for plan in plans:
        loads = np.array([[lengths[batch // 2].sum() for batch in step] for step in plan.micro_steps])
        assert loads.max() <= BUDGET
        slowest += int(loads.max(axis=1).sum())
        total += int(loads.sum())
        minimal.append(len(plan.micro_steps) == math.ceil(loads.sum() / (world_size * BUDGET)))
    assert total == 2 * lengths.sum()
    return {
        "slowest_over_mean": slowest / (total / world_size),
        "fewest_micro_steps_share": float(np.mean(minimal)),
        "seconds": seconds,
        "seconds_per_million_sequences": seconds * 1e6 / (2 * lengths.size),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=1_000_000)
    arguments = parser.parse_args(argv)
    lengths = draw_lengths(arguments.sequences // 2, seed=0)
    results = {f"ranks_{world_size}": measure(world_size, lengths) for world_size in (1, 4, 8)}
    passed = (
        results["ranks_4"]["slowest_over_mean"] <= 1.002
        and results["ranks_8"]["slowest_over_mean"] <= 1.005
        and all(result["fewest_micro_steps_share"] >= 0.95 for result in results.values())
        and all(result["seconds_per_million_sequences"] <= 5 for result in results.values())
    )
    print(json.dumps({"benchmark": "planner", "sequences": arguments.sequences, **results, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
