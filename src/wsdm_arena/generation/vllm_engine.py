"""The engine that runs vLLM, in worker processes with an environment of their own (``make vllm``)."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from wsdm_arena.config.generation import AnswerModelConfig, GenerationConfig, VLLMConfig
from wsdm_arena.generation import vllm_worker
from wsdm_arena.generation.engine import AnswerEngine, EngineConfigError
from wsdm_arena.generation.vllm_environment import describe_environment, is_built_for_cpus
from wsdm_arena.generation.vllm_failure import explain_failure
from wsdm_arena.generation.worker_engine import IDLE_THREADS_SLEEP, WorkerEngine, WorkerKind
from wsdm_arena.processes.gpus import visible_gpus

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""As Linux names the instructions on x86 and on ARM."""


def vllm_engine(
    name: str,
    model: AnswerModelConfig,
    generation: GenerationConfig,
    *,
    project_path: Path,
    log_folder: Path | None = None,
) -> AbstractContextManager[AnswerEngine]:
    """Make an engine of ``data_parallel_size`` vLLM workers with ``tensor_parallel_size`` GPUs each.

    The GPUs are taken in order from those that this process may use. Where there is none, or vLLM is built for CPUs,
    none is assigned, and the workers share the cores.

    Args:
        name: Of the answer model.
        model: The answer model.
        generation: For sampling and ``vllm``.
        project_path: Where a relative ``generation.vllm.python`` starts from.
        log_folder: Where what the workers print is kept.

    Raises:
        EngineConfigError: There is no such interpreter or model directory, or there are too few GPUs.
    """
    python = project_path / generation.vllm.python
    if problem := describe_environment(generation.vllm.python, project_path):
        raise EngineConfigError(f"answer model {name!r}: {problem}")
    if model.model.startswith(("/", "./", "../")) and not Path(model.model).is_dir():
        raise EngineConfigError(f"generation.answer_models.{name}.model: {model.model} is no directory")
    kind = WorkerKind(
        command=[str(python), vllm_worker.__file__],
        environments=_worker_environments(name, model, generation.vllm, *_assignable_gpus(python, model)),
        engine={
            "revision": model.revision,
            "trust_remote_code": model.trust_remote_code,
            "tensor_parallel_size": model.tensor_parallel_size,
            "gpu_memory_utilization": generation.vllm.gpu_memory_fraction,
            "enforce_eager": generation.vllm.enforce_eager,
            "max_model_len": model.max_model_tokens,
            "dtype": model.dtype,
        },
        stop=model.stop,
        batch_requests=None,
        grace_s=generation.vllm.stop_grace_s,
        on_cpu=_on_cpu(model, generation.vllm),
        explain=partial(explain_failure, name=name, python=str(python)),
    )
    return nullcontext(WorkerEngine(name, model.model, kind, generation, log_folder))


def _on_cpu(model: AnswerModelConfig, vllm: VLLMConfig) -> dict[str, Any]:
    """What holds in place of, or besides, the other settings where the worker finds that its vLLM is built for CPUs.

    There vLLM turns float32 weights into bfloat16 whether or not the CPU can calculate with it, and dies when a request
    that has a seed is the last of a step and only a part of its prompt fits in: it rewinds the request's generator as
    only those of GPUs can be (vLLM 0.32, ``CPU Generator does not use offset``). Prompts are therefore not cut.
    """
    settings: dict[str, Any] = {
        "kv_cache_memory_bytes": int(vllm.cpu_kv_cache_gib * 2**30),
        "enable_chunked_prefill": False,
    }
    if model.dtype == "auto" and not _has_bf16():
        settings["dtype"] = "float32"
    return settings


def _has_bf16() -> bool:
    try:
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())


def _assignable_gpus(python: Path, model: AnswerModelConfig) -> tuple[list[str], dict[str, str]]:
    """GPUs that workers may have, and variables that make CUDA count them so.

    CUDA's numbers need not be the driver's, so those that the user gave stay as they are. vLLM takes numbers only:
    UUIDs become the driver's.
    """
    if is_built_for_cpus(python):
        return [], {}
    gpus, chosen = visible_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        num_gpus = model.tensor_parallel_size * model.data_parallel_size if gpus is None else len(gpus)
        return [str(index) for index in range(num_gpus)], {}
    names = [name for name in (part.strip() for part in chosen.split(",")) if name and name != "-1"]
    if gpus is None:
        return names, {}
    if all(name.isdigit() for name in names):
        return names[: len(gpus)], {}
    return [gpu.name for gpu in gpus], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _worker_environments(
    name: str, model: AnswerModelConfig, vllm: VLLMConfig, gpus: Sequence[str], variables: Mapping[str, str]
) -> list[dict[str, str]]:
    shared = {"VLLM_NO_USAGE_STATS": "1", **variables}  # nothing is reported to anyone
    size, num_workers = model.tensor_parallel_size, model.data_parallel_size
    if not gpus:
        return [{**shared, **_threads(vllm, size * num_workers)} for _ in range(num_workers)]
    if size * num_workers > len(gpus):
        raise EngineConfigError(
            f"answer model {name!r}: tensor_parallel_size {size} x data_parallel_size {num_workers} needs "
            f"{size * num_workers} GPUs, {len(gpus)} are visible ({', '.join(gpus)}); lower one of them"
        )
    shares = [gpus[rank * size : (rank + 1) * size] for rank in range(num_workers)]
    return [{**shared, "CUDA_VISIBLE_DEVICES": ",".join(share)} for share in shares]


def _threads(vllm: VLLMConfig, num_processes: int) -> Mapping[str, str]:
    """Variables that share the cores among the workers' processes; what the user has set stays.

    By default vLLM would bind the threads of every worker to the same cores, and leave one core to a process that does
    not exist here.
    """
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variables = {
        **IDLE_THREADS_SLEEP,
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(max(num_cores // num_processes, 1)),
    }
    configured = {} if vllm.cpu_threads is None else {"OMP_NUM_THREADS": str(vllm.cpu_threads)}
    return {variable: value for variable, value in variables.items() if variable not in os.environ} | configured
