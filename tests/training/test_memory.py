import torch

from wsdm_arena.training.memory import memory_bytes


def test_memory_of_this_process_is_counted() -> None:
    assert memory_bytes(torch.device("cpu")) > 10 << 20
