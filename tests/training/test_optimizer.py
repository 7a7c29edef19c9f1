import sys

import pytest
import torch
from torch import nn

from wsdm_arena.config import OptimizerConfig
from wsdm_arena.training.optimizer import ShardedOptimizer


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": nn.Parameter(torch.randn(6, 4, generator=generator).to(dtype)),
        "norm": nn.Parameter(torch.ones(4, dtype=dtype)),
        "bias": nn.Parameter(torch.full((6,), 0.5, dtype=dtype)),
    }


def set_gradients(tensors: dict[str, nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors.values():
        tensor.grad = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)


def test_adamw_equals_torch() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = ShardedOptimizer(ours, OptimizerConfig(weight_decay=0.1), world_size=1)
    groups = [
        {"params": [theirs["matrix"]], "weight_decay": 0.1},
        {"params": [theirs["norm"], theirs["bias"]], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), eps=1e-6)
    for seed in range(5):
        set_gradients(ours, seed)
        set_gradients(theirs, seed)
        optimizer.step(1e-2)
        reference.step()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-5)


def test_only_matrices_decay() -> None:
    tensors = parameters()
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    optimizer = ShardedOptimizer(tensors, OptimizerConfig(weight_decay=0.5), world_size=1)
    for tensor in tensors.values():
        tensor.grad = torch.zeros_like(tensor)
    optimizer.step(0.1)
    torch.testing.assert_close(tensors["matrix"].detach(), before["matrix"] * 0.95)
    assert torch.equal(tensors["norm"], before["norm"])
    assert torch.equal(tensors["bias"], before["bias"])


def test_gradients_are_dropped_after_a_step() -> None:
    tensors = parameters()
    optimizer = ShardedOptimizer(tensors, OptimizerConfig(), world_size=1)
    set_gradients(tensors, 0)
    optimizer.step(1e-3)
    assert all(tensor.grad is None for tensor in tensors.values())
    assert optimizer.step_count == 1


def test_square_sum_of_the_gradient() -> None:
    tensors = parameters()
    optimizer = ShardedOptimizer(tensors, OptimizerConfig(), world_size=1)
    for tensor in tensors.values():
        tensor.grad = torch.full_like(tensor, 2.0)
    assert optimizer.gradient_square_sum() == pytest.approx(4.0 * (24 + 4 + 6), rel=1e-6)


def test_square_sum_of_a_bfloat16_gradient_is_not_rounded_to_bfloat16() -> None:
    tensor = nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
    optimizer = ShardedOptimizer({"weight": tensor}, OptimizerConfig(), world_size=1)
    tensor.grad = torch.ones_like(tensor)
    assert optimizer.gradient_square_sum() == pytest.approx(1000.0, rel=1e-6)  # a bfloat16 norm would give 992 or 1024


@pytest.mark.parametrize("name", ["adamw", "stable_adamw"])
def test_installed_triton_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Before it looks at any parameter, optimi's StableAdamW would choose Triton, which cannot read a CPU's memory."""
    for module in ("utils", "optimizer", "adam", "stableadamw"):
        monkeypatch.setattr(sys.modules[f"optimi.{module}"], "HAS_TRITON", True)
    tensors = parameters()
    before = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    optimizer = ShardedOptimizer(tensors, OptimizerConfig(name=name), world_size=1)
    set_gradients(tensors, 0)
    optimizer.step(1e-2)
    assert all(not torch.equal(tensor, before[key]) for key, tensor in tensors.items())


def test_state_copied_to_another_optimizer_continues_bit_identically() -> None:
    for name in ("adamw", "stable_adamw"):
        for dtype in (torch.float32, torch.bfloat16):
            config = OptimizerConfig(name=name)
            first, second = parameters(dtype), parameters(dtype)
            original = ShardedOptimizer(first, config, world_size=1)
            for seed in range(3):
                set_gradients(first, seed)
                original.step(1e-3)
            copied = ShardedOptimizer(second, config, world_size=1)
            state = copied.state_tensors()
            assert ("kahan_comp.matrix" in state) == (dtype == torch.bfloat16)
            with torch.no_grad():
                for key, tensor in original.state_tensors().items():
                    state[key].copy_(tensor)
                for key, tensor in first.items():
                    second[key].copy_(tensor)
            copied.restore_step_count(3)
            for optimizer, tensors in ((original, first), (copied, second)):
                set_gradients(tensors, 9)
                optimizer.step(1e-3)
            assert all(torch.equal(first[key], second[key]) for key in first), (name, dtype)


def test_making_the_state_before_the_first_step_changes_nothing() -> None:
    tensors = parameters()
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    optimizer = ShardedOptimizer(tensors, OptimizerConfig(weight_decay=0.5), world_size=1)
    state = optimizer.state_tensors()
    assert set(state) == {f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in tensors}
    assert all(not tensor.any() for tensor in state.values())
    assert all(torch.equal(tensors[name], before[name]) for name in tensors)


def test_kahan_summation_keeps_updates_that_bfloat16_rounds_away() -> None:
    def trained(dtype: torch.dtype, *, kahan: bool) -> torch.Tensor:
        tensors = parameters(dtype)
        optimizer = ShardedOptimizer(tensors, OptimizerConfig(kahan_summation=kahan, weight_decay=0.0), world_size=1)
        for _ in range(40):
            for tensor in tensors.values():
                tensor.grad = torch.ones_like(tensor)
            optimizer.step(1e-4)
        return tensors["norm"].detach().float()

    exact = trained(torch.float32, kahan=True)
    torch.testing.assert_close(exact, torch.full((4,), 1.0 - 40e-4), atol=1e-5, rtol=0)
    assert torch.equal(trained(torch.bfloat16, kahan=False), torch.ones(4))  # below half a unit in the last place
    torch.testing.assert_close(trained(torch.bfloat16, kahan=True), exact, atol=2**-8, rtol=0)
    assert not torch.equal(trained(torch.bfloat16, kahan=True), torch.ones(4))
