from contextlib import suppress

import pytest
import torch
import torch.distributed as dist

from wsdm_arena import distributed
from wsdm_arena.distributed import DeviceError, DistributedContext


def test_without_torchrun_this_is_the_only_process() -> None:
    context = DistributedContext.from_environment(device="cpu", environment={})
    assert (context.rank, context.local_rank, context.world_size, context.backend) == (0, 0, 1, "gloo")
    assert context.is_main


def test_torchruns_variables_are_read() -> None:
    environment = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
    context = DistributedContext.from_environment(device="cpu", environment=environment)
    assert (context.rank, context.local_rank, context.world_size) == (5, 1, 8)
    assert not context.is_main


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named_with_the_cure() -> None:
    with pytest.raises(DeviceError, match=r"finds 0 GPUs.*set launcher\.device to cpu"):
        DistributedContext.from_environment(device="cuda", environment={})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_takes_the_cpu_and_gloo_where_there_is_no_gpu() -> None:
    context = DistributedContext.from_environment(environment={})
    assert (context.device.type, context.backend) == ("cpu", "gloo")


def test_a_lone_process_needs_no_collective() -> None:
    context = DistributedContext.from_environment(device="cpu", environment={})
    assert context.sum_over_ranks([1.5, 2.0]) == [1.5, 2.0]
    assert context.gather("x") == ["x"]
    assert context.broadcast("x") == "x"
    context.barrier()


@pytest.mark.parametrize(("backend", "num_left_after_an_error"), [("nccl", 0), ("gloo", 1)])
def test_nccls_group_is_left_in_order_only_after_success(
    monkeypatch: pytest.MonkeyPatch, backend: str, num_left_after_an_error: int
) -> None:
    """Peers may be inside a collective when one rank fails, and leaving would wait for them."""
    left = []
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(1))
    monkeypatch.setattr(distributed, "init_device_mesh", lambda *_: None)
    context = DistributedContext(rank=0, local_rank=0, world_size=2, device=torch.device("cpu"), backend=backend)
    with suppress(ZeroDivisionError), context.process_group():
        raise ZeroDivisionError
    assert len(left) == num_left_after_an_error
    with context.process_group():
        pass
    assert len(left) == num_left_after_an_error + 1
