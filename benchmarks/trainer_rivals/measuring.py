"""Seconds, memory and use of the hardware of one training."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedConfig

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bfloat16 operations a second, by a part of the GPU's name; from the data sheets of SXM variants."""


@dataclass
class Meter:
    """Filled by :func:`measure`.

    Attributes:
        seconds: Wall-clock time.
        processor_seconds: Of all threads.
        peak_mb: Of the process (resident set) or, on CUDA, of the GPU's tensors.
        growth_mb: The part of it that was not there before model and data were loaded.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    peak_mb: float = 0.0
    growth_mb: float = 0.0


def resident_mb(field: str) -> float:
    """A field of the kernel's account of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1e3


@contextmanager
def measure(device: str, before_mb: float) -> Iterator[Meter]:
    """Time a training and read its peak memory.

    Args:
        device: ``cpu`` or ``cuda``.
        before_mb: Resident memory after the imports.
    """
    meter = Meter()
    start, processor_start = time.perf_counter(), time.process_time()
    yield meter
    if device == "cuda":
        torch.cuda.synchronize()
    meter.seconds = time.perf_counter() - start
    meter.processor_seconds = time.process_time() - processor_start
    if device == "cuda":
        meter.peak_mb = meter.growth_mb = torch.cuda.max_memory_allocated() / 1e6
    else:
        meter.peak_mb = resident_mb("VmHWM")
        meter.growth_mb = meter.peak_mb - before_mb


def training_flops(config: PreTrainedConfig, lengths: list[int]) -> float:
    """Operations that forward and backward of these sequences need, padding and embedding look-ups left out.

    Six a weight and token for the decoder's matrices; ``12 * heads * head size`` a layer for attention to each of the
    ``n (n + 1) / 2`` tokens that a causal sequence looks at (arXiv:2204.02311, appendix B, counts all ``n * n``).
    """
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = config.num_key_value_heads * head_dim
    queries = config.num_attention_heads * head_dim
    matrices = 2 * config.hidden_size * (queries + keys) + 3 * config.hidden_size * config.intermediate_size
    pairs = sum(length * (length + 1) / 2 for length in lengths)
    return config.num_hidden_layers * (6 * matrices * sum(lengths) + 12 * queries * pairs)


def peak_flops(device: str) -> float | None:
    """What the GPU could do; None where that is not known."""
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)


def rival_attention(model_type: str, device: str) -> str:
    """The fastest attention with which transformers trains a model here.

    Gemma-2's soft-capping excludes sdpa; flex attention has no backward pass on a CPU.
    """
    if device == "cuda":
        try:
            import flash_attn  # noqa: F401

            return "flash_attention_2"
        except ImportError:
            return "flex_attention" if model_type == "gemma2" else "sdpa"
    return "eager" if model_type == "gemma2" else "sdpa"
