"""AdamW and StableAdamW of torch-optimi over sharded parameters."""

from collections.abc import Mapping

import optimi
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from wsdm_arena.config import OptimizerConfig

_OPTIMIZERS = {"adamw": optimi.AdamW, "stable_adamw": optimi.StableAdamW}
_MOMENTS = ("exp_avg", "exp_avg_sq", "kahan_comp")
"""State of one parameter that changes from update to update, in optimi's words; ``kahan_comp`` may be None."""


class ShardedOptimizer:
    """Updates parameters that FSDP2 may have sharded.

    AdamW works on each element alone, so it is given the plain local shards: the same result, without the cost of
    dispatching on distributed tensors (which on tiny models is a fifth of an update). StableAdamW needs the mean over a
    whole parameter and is given the distributed tensors where there is more than one rank.

    Attributes:
        step_count: Updates done.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: OptimizerConfig, *, world_size: int) -> None:
        self._config = config
        self._sharded = dict(parameters)
        self._is_local = world_size == 1 or config.name == "adamw"
        self._updated = {name: self._as_updated(parameter) for name, parameter in parameters.items()}
        self._optimizer = self._build()
        self.step_count = 0

    def step(self, learning_rate: float) -> None:
        """Update every parameter from its gradient and drop the gradients."""
        for name, parameter in self._sharded.items():
            if self._is_local:
                self._updated[name].grad = None if parameter.grad is None else _local(parameter.grad)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        for parameter in self._sharded.values():
            parameter.grad = None
        self.step_count += 1

    def gradient_square_sum(self) -> float:
        """Sum of squares of this rank's part of the gradient."""
        gradients = [_local(parameter.grad) for parameter in self._sharded.values() if parameter.grad is not None]
        # Accumulates in float32 without a float32 copy of the gradient, which for embeddings would be gigabytes.
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
        return float(torch.stack(norms).double().square().sum()) if norms else 0.0

    def state_tensors(self) -> dict[str, Tensor]:
        """Moments and Kahan compensations as tensors that share memory with the optimizer's own.

        Returns:
            Under ``<moment>.<parameter>``, distributed where the parameter is; what is copied into them is copied into
            the optimizer.
        """
        if not self._optimizer.state:
            self._materialize()
        tensors = {}
        for name, parameter in self._sharded.items():
            updated = self._updated[name]
            state = self._optimizer.state.get(updated, {})
            for moment in _MOMENTS:
                tensor = state.get(moment)
                if tensor is not None:
                    tensors[f"{moment}.{name}"] = _like_parameter(tensor, parameter)
        return tensors

    def restore_step_count(self, step_count: int) -> None:
        """Go on as after ``step_count`` updates; the tensors are restored through :meth:`state_tensors`."""
        self.step_count = step_count
        for group in self._optimizer.param_groups:
            group["step"].fill_(step_count)

    def _as_updated(self, parameter: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(_local(parameter.detach())) if self._is_local else parameter

    def _build(self) -> torch.optim.Optimizer:
        """Matrices decay; vectors, such as norms and biases, do not.

        Optimi's plain loop does the work. Left to itself, StableAdamW starts Triton kernels wherever Triton is
        installed, for tensors on a CPU and for distributed ones, too.
        """
        # An empty shard has nothing to update, and a GPU kernel cannot be started for nothing.
        updated = [parameter for parameter in self._updated.values() if parameter.numel()]
        matrices = [parameter for parameter in updated if parameter.ndim >= 2]
        vectors = [parameter for parameter in updated if parameter.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self._config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return _OPTIMIZERS[self._config.name](
            [group for group in groups if group["params"]],
            lr=self._config.peak_learning_rate,
            betas=self._config.betas,
            eps=self._config.epsilon,
            weight_decay=self._config.weight_decay,
            kahan_sum=self._config.kahan_summation,
            foreach=False,
            triton=False,
        )

    def _materialize(self) -> None:
        """Create the state, which optimi does at its first step, by a step that changes nothing."""
        for parameter in self._updated.values():
            parameter.grad = torch.zeros_like(parameter)
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.restore_step_count(0)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _like_parameter(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    if isinstance(tensor, DTensor) or not isinstance(parameter, DTensor):
        return tensor
    return DTensor.from_local(
        tensor,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
