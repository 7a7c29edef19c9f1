"""Processes, devices and sharded weights. The only place that reads torchrun's environment."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from wsdm_arena.config import TrainingConfig

logger = logging.getLogger(__name__)

COLLECTIVE_TIMEOUT = timedelta(minutes=60)
"""Long enough for one rank to write a large checkpoint while the others wait."""
MAX_UNSHARDED_GRADIENT_BYTES = 1 << 30
"""Up to this size whole gradients are kept over the micro-steps of an update and reduced once; larger ones are
reduced after each micro-step, because they would not fit beside the weights."""
MAX_SINGLE_PIECE_BYTES = 64 << 20
"""Up to this size a judge is gathered and reduced as a whole: there is nothing to gain from overlapping layers."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class DeviceError(RuntimeError):
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


def shard_weights(judge: nn.Module, layers: nn.ModuleList, config: TrainingConfig, mesh: DeviceMesh) -> None:
    """Shard the weights over the ranks (FSDP2) and move them to the device, in place.

    Each decoder layer is gathered and reduced by itself, and what is left together; a small judge as one piece.
    Gradients are summed over ranks, not averaged: the loss is already divided by the size of the global batch.

    A lone process has nothing to share. Its weights stay plain tensors, which spares a second copy of them (18 GB for
    9 billion parameters) and, on tiny judges, a tenth to a quarter of an update's time.
    """
    if config.compile_layers:
        for layer in layers:
            layer.compile()
    if mesh.size() == 1:
        judge.to(mesh.device_type)
        return
    policy = MixedPrecisionPolicy(
        param_dtype=DTYPES[config.dtype],
        reduce_dtype=DTYPES[config.gradient_reduction_dtype],
        cast_forward_inputs=False,
    )
    is_full = config.sharding == "full"
    if is_full or _num_bytes(judge, DTYPES[config.dtype]) > MAX_SINGLE_PIECE_BYTES:
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=is_full)
    fully_shard(judge, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    for module in judge.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


class CommunicationSchedule:
    """Decides between the micro-steps of an update what ranks exchange at once and what they keep.

    Whole gradients are kept until the last micro-step if they are small, gathered weights if the sharding says so.
    """

    def __init__(self, judge: nn.Module, config: TrainingConfig) -> None:
        self._judge = judge if isinstance(judge, FSDPModule) else None
        num_bytes = _num_bytes(judge, DTYPES[config.gradient_reduction_dtype])
        self._reduces_always = num_bytes > MAX_UNSHARDED_GRADIENT_BYTES
        self._reshards_always = config.sharding == "full"
        self._is_last: bool | None = None

    def begin_micro_step(self, *, is_last: bool) -> None:
        """Prepare the backward pass of a micro-step."""
        if self._judge is None or is_last == self._is_last:
            return
        self._is_last = is_last
        self._judge.set_is_last_backward(is_last)
        self._judge.set_requires_gradient_sync(is_last or self._reduces_always)
        self._judge.set_reshard_after_backward(is_last or self._reshards_always)


def gather_weights(judge: nn.Module, *, is_main: bool) -> dict[str, Tensor]:
    """Whole weights on the CPU of rank 0, parameter by parameter; empty on the other ranks. A collective."""
    weights = {}
    for name, tensor in judge.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if is_main:
            weights[name] = whole.detach().cpu()
    return weights


def _num_bytes(judge: nn.Module, dtype: torch.dtype) -> int:
    return sum(parameter.numel() for parameter in judge.parameters()) * dtype.itemsize
