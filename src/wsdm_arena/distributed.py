"""Processes and devices. The only place that reads torchrun's environment."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from wsdm_arena.errors import UserError
from wsdm_arena.progress import hide_progress

logger = logging.getLogger(__name__)

COLLECTIVE_TIMEOUT = timedelta(minutes=60)
"""Long enough for one rank to write a large checkpoint while the others wait."""


class DeviceError(UserError, RuntimeError):
    """This machine lacks the devices that the run asks for."""


@dataclass(frozen=True)
class DistributedContext:
    """Who this process is, as torchrun said, and what it computes on."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    backend: str

    @property
    def is_main(self) -> bool:
        """Whether this is the process that logs and writes tables."""
        return self.rank == 0

    @classmethod
    def from_environment(
        cls, *, device: str = "auto", backend: str = "auto", environment: Mapping[str, str] = os.environ
    ) -> "DistributedContext":
        """Read ``RANK``, ``LOCAL_RANK`` and ``WORLD_SIZE``; without them this is the only process.

        Args:
            device: "cuda", "cpu", or "auto" for a GPU if there is one.
            backend: "nccl", "gloo", or "auto" for NCCL on GPUs.
            environment: Of this process.

        Raises:
            DeviceError: There is no GPU, or there are fewer than processes.
        """
        local_rank = int(environment.get("LOCAL_RANK", "0"))
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if kind == "cuda" and not torch.cuda.device_count():
            raise DeviceError(_describe_absence())
        if kind == "cuda" and local_rank >= torch.cuda.device_count():
            raise DeviceError(
                f"process {local_rank} of this node finds {torch.cuda.device_count()} GPUs; "
                "lower launcher.processes_per_node or set launcher.device to cpu"
            )
        return cls(
            rank=int(environment.get("RANK", "0")),
            local_rank=local_rank,
            world_size=int(environment.get("WORLD_SIZE", "1")),
            device=torch.device(kind, local_rank) if kind == "cuda" else torch.device(kind),
            backend=("nccl" if kind == "cuda" else "gloo") if backend == "auto" else backend,
        )

    @contextmanager
    def process_group(self) -> Iterator[DeviceMesh]:
        """Join the other processes; a lone process gets a group of one, because the mesh of ranks needs one.

        After an error NCCL's group is left to the end of the process: while other ranks are inside a collective,
        leaving in order would wait for them, at worst for :data:`COLLECTIVE_TIMEOUT`.
        """
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        meeting: dict[str, Any] = {"device_id": self.device} if self.backend == "nccl" else {}
        if self.world_size == 1 and "MASTER_ADDR" not in os.environ:
            meeting |= {"store": dist.HashStore(), "rank": 0, "world_size": 1}
        dist.init_process_group(self.backend, timeout=COLLECTIVE_TIMEOUT, **meeting)
        is_done = False
        try:
            yield init_device_mesh(self.device.type, (self.world_size,))
            is_done = True
        finally:
            if is_done or self.backend != "nccl":
                dist.destroy_process_group()

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        """Add up numbers that each rank holds a part of; one collective."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: Any) -> list[Any] | None:
        """Bring a small object of every rank to rank 0, in the order of ranks; None elsewhere."""
        if self.world_size == 1:
            return [value]
        values: list[Any] | None = [None] * self.world_size if self.is_main else None
        dist.gather_object(value, values, dst=0)
        return values

    def broadcast(self, value: Any) -> Any:
        """Give rank 0's small object to every rank."""
        if self.world_size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]

    def configure_logging(self) -> None:
        """Log and show progress on the first process, and from the others tell only what is wrong."""
        hide_progress(not self.is_main)
        rank = "" if self.world_size == 1 else f"[{self.rank}] "
        logging.basicConfig(
            level=logging.INFO if self.is_main else logging.WARNING,
            format=f"%(asctime)s %(levelname)s {rank}%(message)s",
            datefmt="%H:%M:%S",
            stream=sys.stderr,
        )


def run_as_rank(work: Callable[[], None], name: str) -> int:
    """Do this process's share of the work and say in the log what went wrong.

    Args:
        work: Done once.
        name: Of the work, for the log.

    Returns:
        The exit status: 0 if it ended well.
    """
    try:
        work()
    except UserError as error:
        logger.error("%s", error)
        return 1
    except Exception:  # the other ranks wait for this one, so it must end at once, not unwind
        logger.exception("%s broke off", name)
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End the process without taking the interpreter down.

    gloo's threads may still be running then, and abort a process whose work is done.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _describe_absence() -> str:
    """Why torch finds no GPU, as far as its build tells."""
    cure = "set launcher.device to cpu"
    if torch.version.cuda is None:
        return f"finds 0 GPUs: torch {torch.__version__} is built for CPUs; install its CUDA build, or {cure}"
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        hidden = os.environ["CUDA_VISIBLE_DEVICES"]
        return f"finds 0 GPUs with CUDA_VISIBLE_DEVICES={hidden!r}; unset it, name GPUs that are there, or {cure}"
    return (
        f"finds 0 GPUs: torch {torch.__version__} is built for CUDA {torch.version.cuda}; where nvidia-smi shows one, "
        "its driver is too old for that: update the driver, install a build for an older CUDA (TORCH_INDEX_URL=<its "
        f"index> make setup), or {cure}"
    )
