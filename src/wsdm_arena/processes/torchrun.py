"""torchrun as a launcher configuration describes it; torch itself is not imported."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wsdm_arena.config import LauncherConfig
from wsdm_arena.processes.supervisor import run_supervised

_LOG_DIRECTORY = "PET_LOG_DIR"
"""Where torchrun puts what its processes say of their errors; by default into a folder that it leaves behind."""


def run_torchrun(launcher: LauncherConfig, module: str, args: Sequence[str], *, log_path: Path) -> None:
    """Run ``python -m module args`` in every process of the launcher, to their end.

    Args:
        launcher: How many processes, where and how.
        module: To run.
        args: Its arguments.
        log_path: The output is appended here; its folder must exist.

    Raises:
        ProcessFailed: A process ended with an error; carries the last lines.
        KeyboardInterrupt: SIGINT arrived; everything is stopped.
        SystemExit: SIGTERM or SIGHUP arrived; everything is stopped.
    """
    with tempfile.TemporaryDirectory(prefix="wsdm-arena-torchrun-", ignore_cleanup_errors=True) as folder:
        variables = {} if _LOG_DIRECTORY in os.environ else {_LOG_DIRECTORY: folder}
        run_supervised(
            torchrun_command(launcher, module, args),
            env=variables | torchrun_environment(launcher),
            grace_s=launcher.stop_grace_s,
            log_path=log_path,
        )


def torchrun_command(launcher: LauncherConfig, module: str, args: Sequence[str]) -> list[str]:
    """Build the command that runs ``python -m module args`` in every process of the launcher.

    One node needs no meeting point. Several nodes each run this same command (by ``launcher.prefix``, such as srun, or
    by hand) and find one another at ``launcher.rendezvous_endpoint``, under an id made from module and arguments.
    """
    if launcher.nodes == 1:
        meeting = ["--standalone"]
    else:
        endpoint = str(launcher.rendezvous_endpoint)  # the configuration insists on one
        run_id = hashlib.blake2b("\0".join([module, *args]).encode(), digest_size=8).hexdigest()
        meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", run_id]
    shape = ["--nnodes", str(launcher.nodes), "--nproc-per-node", str(launcher.processes_per_node)]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    return [*launcher.prefix, *torchrun, *meeting, *shape, "-m", module, *args]


def torchrun_environment(launcher: LauncherConfig) -> dict[str, str]:
    """Environment variables that belong to :func:`torchrun_command`.

    Threads a process: what the configuration says, else what the user's environment says, else one where processes
    share a node (torchrun's own default, but without its warning), else torch's default.
    """
    variables = {}
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:  # packed batches differ in size, which fragments fixed blocks
        variables["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    if launcher.threads_per_process is not None:
        variables["OMP_NUM_THREADS"] = str(launcher.threads_per_process)
    elif launcher.processes_per_node > 1 and "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = "1"
    return variables
