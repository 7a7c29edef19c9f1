"""Whether the launcher's processes find devices, and whether a judge fits into them."""

import logging
import os

from wsdm_arena.config import ResolvedJudge
from wsdm_arena.preflight.backbones import count_parameters, find_backbone
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.processes.gpus import Gpu, describe_gpus, gpus_of_torch

logger = logging.getLogger(__name__)

_GIB = 1 << 30
_TIGHT = 0.9
"""Share of a GPU's memory from which on weights and states leave little for activations."""


def check_launcher(run: PlannedRun) -> list[str]:
    """Compare the launcher's processes with this machine's GPUs and cores, and trained judges with the GPUs' memory."""
    launcher = run.config.launcher
    if not run.trained and not run.scored:
        return []
    if launcher.prefix:
        logger.info("launcher.prefix starts the processes elsewhere: GPUs and cores are not checked")
        return []
    if launcher.device == "cpu":
        return _warn_of_cores(run)
    gpus = gpus_of_torch()
    if gpus is None:
        logger.info("nvidia-smi does not tell which GPUs there are: they are not checked")
        return []
    if not gpus and launcher.device == "auto" and launcher.backend != "nccl":
        return _warn_of_cores(run)
    return _too_few(run, gpus) or _too_small(run, gpus)


def check_submission_devices(run: PlannedRun) -> list[str]:
    """Compare the devices that judge the test pairs with this machine's."""
    devices = run.config.submission.devices
    numbers = [int(name.partition(":")[2] or 0) for name in devices if _is_cuda(name)]
    if not run.judges_test_pairs or not numbers or (gpus := gpus_of_torch()) is None or max(numbers) < len(gpus):
        return []
    return [f"submission.devices={list(devices)}: {describe_gpus(gpus)}; name others, or [auto]"]


def state_bytes(judge: ResolvedJudge, num_parameters: int, world_size: int) -> int:
    """A lower bound of a training's memory on each GPU: weights, gradients and optimizer, but no activations.

    A bfloat16 weight has 10 bytes, shared by all processes: itself, its gradient, two means and, with
    ``kahan_summation``, the rounding error, 2 each; a float32 one 16. With ``sharding: gradients`` every process also
    holds all weights once.
    """
    training = judge.training
    width = 2 if training.dtype == "bfloat16" else 4
    has_error = training.dtype == "bfloat16" and training.optimizer.kahan_summation
    sharded = num_parameters * width * (5 if has_error else 4) // world_size
    gathered = num_parameters * width if training.sharding == "gradients" and world_size > 1 else 0
    return sharded + gathered


def _too_few(run: PlannedRun, gpus: list[Gpu]) -> list[str]:
    launcher = run.config.launcher
    problems = []
    if run.trained and launcher.processes_per_node > len(gpus):
        problems.append(
            f"launcher.processes_per_node={launcher.processes_per_node}: each process needs a GPU, "
            f"{describe_gpus(gpus)}"
        )
    num_scoring = launcher.scoring_processes or launcher.processes_per_node
    if run.scored and num_scoring > len(gpus) and (launcher.scoring_processes or not run.trained):
        problems.append(f"launcher.scoring_processes={num_scoring}: each process needs a GPU, {describe_gpus(gpus)}")
    if problems:
        fewer = f"set it to at most {len(gpus)}, or " if gpus else ""
        problems[-1] += f"; {fewer}set launcher.device=cpu and launcher.backend=gloo"
    return problems


def _too_small(run: PlannedRun, gpus: list[Gpu]) -> list[str]:
    launcher = run.config.launcher
    sizes = [gpu.memory for gpu in gpus[: launcher.processes_per_node] if gpu.memory is not None]
    if not sizes:
        return []
    problems, world_size = [], launcher.nodes * launcher.processes_per_node
    for judge in run.trained:
        directory = find_backbone(run, judge.judge)
        num_parameters = None if directory is None else count_parameters(directory)
        if num_parameters is None:
            continue
        needed = state_bytes(judge, num_parameters, world_size)
        line = (
            f"{judge.stage}.{judge.judge}: {num_parameters / 1e9:.2f} billion weights in {judge.training.dtype} with "
            f"gradients and optimizer take {needed / _GIB:.1f} GiB on each of {world_size} GPUs, activations aside; "
            f"the smallest has {min(sizes) / _GIB:.1f} GiB"
        )
        if needed > min(sizes):
            problems.append(f"{line}; use more GPUs or `training.sharding: full`")
        elif needed > _TIGHT * min(sizes):
            logger.warning("%s: it may not be enough", line)
    return problems


def _warn_of_cores(run: PlannedRun) -> list[str]:
    launcher, num_cores = run.config.launcher, len(os.sched_getaffinity(0))
    if run.trained and launcher.processes_per_node > num_cores:
        logger.warning(
            "launcher.processes_per_node=%d, but there are %d cores: the processes will wait for one another",
            launcher.processes_per_node,
            num_cores,
        )
    return []


def _is_cuda(name: str) -> bool:
    kind, _, number = name.partition(":")
    return kind == "cuda" and (not number or number.isdigit())
