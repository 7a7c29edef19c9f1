"""Why vLLM failed, in one line that names the cure, and the lines of its log that say so."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_PREFIX = re.compile(
    r"^(?:\([^()]* pid=\d+\) )?(?:(?:DEBUG|INFO|WARNING|ERROR) \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?(?:\[rank\d+\]: ?)?"
)
"""What vLLM and torch put before each line: process, level, time and place, rank."""
_EXCEPTION_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b")
_SAYS_NOTHING = re.compile(r"Engine core initialization failed|See root cause above|EngineDeadError")
_MAX_CHARACTERS = 400


class _Cause(NamedTuple):
    """One way to fail: what the log then holds, and what to do."""

    pattern: re.Pattern[str]
    cure: str


def _cause(pattern: str, cure: str) -> _Cause:
    return _Cause(re.compile(pattern), cure)


_MODEL = "generation.answer_models.{name}"
_CAUSES = (
    _cause(
        r"^ModuleNotFoundError: No module named 'vllm'",
        "{python} has no vllm: `make vllm` makes the environment anew, or generation.vllm.python names another",
    ),
    _cause(
        r"^RuntimeError: vllm cannot be imported",
        "the vllm of {python} cannot be imported: remove the environment and `make vllm`",
    ),
    _cause(
        r"No available memory for the cache blocks|larger than the available KV cache memory",
        "there is no room for the keys and values of one sequence: lower " + _MODEL + ".max_model_tokens, or raise "
        "generation.vllm.cpu_kv_cache_gib (on GPUs gpu_memory_fraction, or the model's tensor_parallel_size)",
    ),
    _cause(
        r"on kv cache allocation is less than requested memory|is less than desired CPU memory utilization",
        "there is not enough memory for generation.vllm.cpu_kv_cache_gib: lower it, or end other processes",
    ),
    _cause(
        r"CUDA out of memory|OutOfMemoryError|is less than desired GPU memory utilization",
        "the GPU's memory does not suffice: lower generation.vllm.gpu_memory_fraction or "
        + _MODEL
        + ".max_model_tokens, "
        "raise its tensor_parallel_size, or end what else uses the GPU",
    ),
    _cause(
        r"was ended by SIGKILL|DefaultCPUAllocator: can't allocate memory|^MemoryError",
        "it was killed, most likely for want of memory: lower generation.vllm.cpu_kv_cache_gib, "
        + _MODEL
        + ".data_parallel_size or dtype, or end other processes",
    ),
    _cause(
        r"max_model_len \(\d+\) is greater than the derived max_model_len",
        _MODEL + ".max_model_tokens is more than the model can take: lower it, or set it to null",
    ),
    _cause(
        r"does not recognize this architecture|Model architectures .* are not supported|has no vLLM implementation",
        "this vLLM cannot run the model: take a newer vLLM, or set " + _MODEL + ".engine to transformers",
    ),
    _cause(
        r"Repo id must be in the form|couldn't connect to '|is not a valid model identifier|is not a local folder"
        r"|RepositoryNotFoundError|RevisionNotFoundError|GatedRepoError|LocalEntryNotFoundError",
        "the model is neither a directory here nor to be had from the hub: correct "
        + _MODEL
        + ".model and revision, accept its licence there, or have `kedro fetch` download it",
    ),
    _cause(
        r"Cannot find any model weights|SafetensorError|Invalid header|no safetensors",
        "the model's weights are missing or cut off: fetch them again",
    ),
    _cause(
        r"Couldn't instantiate the backend tokenizer|Can't load tokenizer",
        "the model has no tokenizer: put tokenizer.json and tokenizer_config.json beside its weights",
    ),
)


def explain_failure(lines: Sequence[str], *, name: str, python: str) -> str | None:
    """Find a known cause in what vLLM printed.

    Args:
        lines: Its last lines, the oldest first.
        name: Of the answer model.
        python: vLLM's interpreter.

    Returns:
        Cause and cure in one line, and vLLM's own words in a second one; None if no cause is known.
    """
    bare = [strip_prefix(line) for line in lines]
    for cause in _CAUSES:
        found = [line for line in bare if cause.pattern.search(line)]
        if found:
            return f"{cause.cure.format(name=name, python=python)}\nvLLM said: {found[-1].strip()[:_MAX_CHARACTERS]}"
    return None


def telling_line(lines: Sequence[str]) -> str:
    """Pick the line that says most: the last exception that is not one of vLLM's about another, else the last one."""
    bare = [strip_prefix(line) for line in lines if line.strip()]
    exceptions = [line for line in bare if _EXCEPTION_LINE.match(line)]
    telling = [line for line in exceptions if not _SAYS_NOTHING.search(line)]
    return (telling or exceptions or bare or ["(nothing)"])[-1].strip()[:_MAX_CHARACTERS]


def strip_prefix(line: str) -> str:
    """Take away what vLLM and torch put before a line."""
    return _PREFIX.sub("", line)
