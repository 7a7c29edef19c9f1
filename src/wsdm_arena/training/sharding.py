"""Weights that are sharded over the ranks, and what ranks exchange when."""

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from wsdm_arena.config import TrainingConfig

MAX_UNSHARDED_GRADIENT_BYTES = 1 << 30
"""Up to this size whole gradients are kept over the micro-steps of an update and reduced once; larger ones are
reduced after each micro-step, because they would not fit beside the weights."""
MAX_SINGLE_PIECE_BYTES = 64 << 20
"""Up to this size a judge is gathered and reduced as a whole: there is nothing to gain from overlapping layers."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def shard_weights(
    judge: nn.Module, embedding: nn.Module, layers: nn.ModuleList, config: TrainingConfig, mesh: DeviceMesh
) -> None:
    """Shard the weights over the ranks (FSDP2) and move them to the device, in place.

    Each decoder layer is gathered and reduced by itself, and what is left together; a small judge as one piece. With
    ``sharding: full`` so is the token embedding, which would otherwise lie gathered beside every layer (2.4 GB of
    Gemma-2-27B's), unless the next-token loss needs it once more after the last layer.
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
    if is_full and not config.language_modeling_weight:
        fully_shard(embedding, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
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
