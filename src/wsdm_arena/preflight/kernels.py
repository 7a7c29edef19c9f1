"""Whether the attention kernels that judges name are there, without importing torch.

:func:`wsdm_arena.modeling.attention.choose_attention` has the last word; what it would refuse for sure is said here.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsdm_arena.preflight.backbones import find_backbone, read_config
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.processes.gpus import gpus_of_torch

_MAX_HEAD_DIM = 256


def check_kernels(run: PlannedRun) -> list[str]:
    """Refuse kernels whose package is missing, or that cannot run where, or what, the configuration says."""
    return list(dict.fromkeys([*_of_judges(run), *_of_submission(run)]))


def _of_judges(run: PlannedRun) -> Iterator[str]:
    """Every judge is named once, whatever number of stages it takes part in."""
    launcher = run.config.launcher
    is_on_cpu = launcher.device == "cpu" or (
        launcher.device == "auto" and not launcher.prefix and gpus_of_torch() == []
    )
    for judge in (*run.trained, *run.scored):
        key = f"judges.{judge.judge}.attention"
        lack = _lack(
            judge.attention, "launcher.device" if is_on_cpu else None, judge.training.dtype, _config(run, judge.judge)
        )
        if lack is not None:
            yield f"{key}={judge.attention}: {lack}; or set {key} to auto"


def _of_submission(run: PlannedRun) -> Iterator[str]:
    submission = run.config.submission
    if not run.judges_test_pairs:
        return
    is_on_cpu = "cpu" in submission.devices or (submission.devices == ("auto",) and gpus_of_torch() == [])
    dtype = "float32" if submission.dtype == "float32" else "bfloat16"
    for judge in run.config.roster.students:
        lack = _lack(submission.attention, "submission.devices" if is_on_cpu else None, dtype, _config(run, judge))
        if lack is not None:
            yield f"submission.attention={submission.attention}: {lack}; or set submission.attention to auto"


def _config(run: PlannedRun, judge: str) -> Mapping[str, Any]:
    directory = find_backbone(run, judge)
    return {} if directory is None else read_config(directory)


def _lack(kernel: str, cpu_key: str | None, dtype: str, config: Mapping[str, Any]) -> str | None:
    """What a kernel lacks; None if nothing, or nothing that can be known here.

    Args:
        kernel: Its name, or ``auto``.
        cpu_key: The parameter by which the judge runs on a CPU; None: it does not.
        dtype: In which the judge computes.
        config: Of the backbone; empty: unknown.
    """
    if kernel in ("auto", "segments"):
        return None
    if kernel == "flash_attention" and not _has_flash_attention():
        return "it needs the package flash-attn: `make flash-attn` builds it for the installed torch"
    if kernel == "varlen" and _torch_version() < (2, 10):
        return "it needs torch >= 2.10"
    if kernel == "flex" and importlib.util.find_spec("triton") is None:
        return "it needs the package triton"
    if cpu_key is not None:
        return f"it needs a CUDA device, and {cpu_key} leaves the judge on a CPU"
    if kernel == "flex":
        return None
    if dtype == "float32":
        return "it needs float16 or bfloat16, not float32"
    return _lack_for_heads(kernel, config)


def _lack_for_heads(kernel: str, config: Mapping[str, Any]) -> str | None:
    if kernel == "varlen" and config.get("attn_logit_softcapping") is not None:
        return "it has no soft-capping"
    hidden_size, num_heads = config.get("hidden_size") or 0, config.get("num_attention_heads") or 1
    head_dim = config.get("head_dim") or hidden_size // num_heads
    return f"its heads have at most 256 dimensions, these have {head_dim}" if head_dim > _MAX_HEAD_DIM else None


def _has_flash_attention() -> bool:
    """Whether flash-attn 2 is installed; version 4 has the same name and other modules."""
    spec = importlib.util.find_spec("flash_attn")
    places = (spec.submodule_search_locations if spec else None) or ()
    return any((Path(place) / "flash_attn_interface.py").is_file() for place in places)


def _torch_version() -> tuple[int, int]:
    major, minor, *_ = importlib.metadata.version("torch").split(".")
    return int(major), int(minor)
