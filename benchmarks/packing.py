"""Compare packed segments with padded batches and with a dense packed mask, forward and backward.

    OMP_NUM_THREADS=1 python benchmarks/packing.py

All ways read the same sequences with the same weights and give the same logits; what differs is how tokens share a
batch. Lengths are the chat arena's (lognormal, sigma 0.7, at even quantiles) scaled to a median of 250 tokens; by
default as many as a global batch has. Rivals are transformers' own models: batches of 8, padded on the right, in random
and in length-sorted order, and packed rows with the dense mask that transformers makes from positions. The padded ones
get no attention mask: causal attention never looks at padding on the right, and is faster without. Soft-capping
(Gemma-2) excludes sdpa, so there the rivals are eager.

Speeds are useful tokens (padding not counted) per second of CPU time, medians over interleaved repetitions on one
thread. Prints one JSON object last.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist, median

import numpy as np
import torch
from transformers import AutoModel, Gemma2Config, LlamaConfig, PreTrainedConfig, PreTrainedModel

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.batching.planner import plan_update
from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.judge import JudgeModel, new_judge

MEDIAN_TOKENS, SHORTEST, LONGEST = 250, 50, 1_024
TOKENS_PER_MICRO_BATCH = 4_096
PADDED_BATCH_SIZE = 8
DENSE_MICRO_BATCHES = 2
"""The dense mask is slow and its micro-batches are alike, so two of them stand for all."""
VOCABULARY = 1_024
TARGETS = {"random_padding": 1.8, "sorted_padding": 1.0, "dense_mask": 1.5}


@dataclass(frozen=True)
class Work:
    """The same sequences for every way of batching."""

    sequences: list[np.ndarray]
    micro_batches: list[list[int]]

    @property
    def num_tokens(self) -> int:
        """Useful tokens."""
        return sum(map(len, self.sequences))


def make_work(num_battles: int) -> Work:
    """Take battles at even quantiles of the lengths, each read in both orders, and plan one update of them."""
    normal = NormalDist(math.log(MEDIAN_TOKENS), 0.7)
    quantiles = [math.exp(normal.inv_cdf((number + 0.5) / num_battles)) for number in range(num_battles)]
    lengths = np.clip(quantiles, SHORTEST, LONGEST).astype(int)
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, VOCABULARY, length) for length in np.repeat(lengths, 2)]
    plan = plan_update(np.arange(num_battles), lengths, world_size=1, max_tokens_per_micro_batch=TOKENS_PER_MICRO_BATCH)
    return Work(sequences, [step[0].tolist() for step in plan.micro_steps])


def llama(hidden_size: int, num_layers: int) -> LlamaConfig:
    """A Llama with grouped heads of 64."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=max(1, hidden_size // 128),
    )


def gemma2(hidden_size: int, num_layers: int) -> Gemma2Config:
    """A Gemma-2 with grouped heads of 64 and windows of the scale of its lengths."""
    return Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=max(1, hidden_size // 128),
        head_dim=64,
        query_pre_attn_scalar=64,
        sliding_window=1_024,
    )


def read_segments(judge: JudgeModel, work: Work, members: list[int]) -> torch.Tensor:
    """Our way."""
    return judge(PackedBatch.from_sequences([work.sequences[number] for number in members]))


def read_dense(judge: JudgeModel, rival: PreTrainedModel, work: Work, members: list[int]) -> torch.Tensor:
    """Packed rows with transformers' mask over all pairs of tokens."""
    batch = PackedBatch.from_sequences([work.sequences[number] for number in members])
    states = rival(input_ids=batch.input_ids[None], position_ids=batch.position_ids[None], use_cache=False)
    return judge.head(states.last_hidden_state[0, batch.cu_seqlens[1:].long() - 1])


def read_padded(judge: JudgeModel, rival: PreTrainedModel, work: Work, members: list[int]) -> torch.Tensor:
    """Rows padded on the right to the longest."""
    lengths = torch.tensor([len(work.sequences[number]) for number in members])
    ids = torch.zeros(len(members), int(lengths.max()), dtype=torch.int64)
    for row, number in enumerate(members):
        ids[row, : lengths[row]] = torch.from_numpy(work.sequences[number])
    states = rival(input_ids=ids, use_cache=False)
    return judge.head(states.last_hidden_state[torch.arange(len(members)), lengths - 1])


def useful_share(work: Work, batches: list[list[int]]) -> float:
    """Tokens that are not padding, where each batch is padded to its longest sequence."""
    slots = sum(len(members) * max(len(work.sequences[number]) for number in members) for members in batches)
    return work.num_tokens / slots


def readers_of(config: PreTrainedConfig, implementation: str, work: Work) -> dict[str, Callable]:
    """Each way of reading a batch, all with the same weights."""
    judge = new_judge(config, head=HeadConfig(dropout=0), num_classes=2, seed=0, attention="segments")
    rival = AutoModel.from_config(config, attn_implementation=implementation)
    rival.load_state_dict(judge.backbone.state_dict())
    padded = partial(read_padded, judge, rival, work)
    return {
        "segments": partial(read_segments, judge, work),
        "random_padding": padded,
        "sorted_padding": padded,
        "dense_mask": partial(read_dense, judge, rival, work),
    }


def deal(work: Work, seed: int) -> dict[str, list[list[int]]]:
    """Each way's batches; every repetition shuffles anew, as padding differs from shuffle to shuffle."""
    shuffled = np.random.default_rng(seed).permutation(len(work.sequences)).tolist()
    by_length = sorted(range(len(work.sequences)), key=lambda number: -len(work.sequences[number]))

    def cut(order: list[int]) -> list[list[int]]:
        return [order[start : start + PADDED_BATCH_SIZE] for start in range(0, len(order), PADDED_BATCH_SIZE)]

    return {
        "segments": work.micro_batches,
        "random_padding": cut(shuffled),
        "sorted_padding": cut(by_length),
        "dense_mask": work.micro_batches[:DENSE_MICRO_BATCHES],
    }


def read_all(read: Callable, batches: list[list[int]], num_sequences: int) -> tuple[float, torch.Tensor]:
    """Seconds of CPU time for forward and backward of all batches, and the logits by sequence."""
    logits = torch.empty(num_sequences, 2)
    start = time.process_time()
    for members in batches:
        output = read(members)
        output.square().sum().backward()
        logits[members] = output.detach()
    return time.process_time() - start, logits


def compare(config: PreTrainedConfig, implementation: str, work: Work, repetitions: int) -> dict[str, object]:
    """Time every way, interleaved, and make sure that they agree."""
    readers = readers_of(config, implementation, work)
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    shares: dict[str, list[float]] = {"random_padding": [], "sorted_padding": []}
    reference = None
    for repetition in range(repetitions):
        dealt = deal(work, seed=repetition)
        for name, read in readers.items():
            elapsed, logits = read_all(read, dealt[name], len(work.sequences))
            reference = logits if reference is None else reference
            read_ones = [number for members in dealt[name] for number in members]
            torch.testing.assert_close(logits[read_ones], reference[read_ones], rtol=1e-3, atol=1e-4)
            speeds[name].append(sum(len(work.sequences[number]) for number in read_ones) / elapsed)
        for name, values in shares.items():
            values.append(useful_share(work, dealt[name]))
    speed = {name: median(values) for name, values in speeds.items()}
    return {
        "rivals": implementation,
        "useful_tokens": work.num_tokens,
        "useful_share": {name: round(median(values), 2) for name, values in shares.items()},
        "useful_tokens_per_s": {name: round(value) for name, value in speed.items()},
        "segments_over": {rival: round(speed["segments"] / speed[rival], 2) for rival in TARGETS},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--battles", type=int, default=80)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = make_work(arguments.battles)
    fewer = make_work(max(1, arguments.battles // 2))  # eager attention is slow
    results = {
        "llama": compare(llama(192, 3), "sdpa", work, arguments.repetitions),
        "gemma2": compare(gemma2(128, 2), "eager", fewer, arguments.repetitions),
    }
    passed = all(
        result["segments_over"][rival] >= target for result in results.values() for rival, target in TARGETS.items()
    )
    print(json.dumps({"benchmark": "packing", **results, "targets": TARGETS, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
