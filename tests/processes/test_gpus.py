import os
from pathlib import Path

import pytest

from wsdm_arena.processes import gpus as module
from wsdm_arena.processes.gpus import Gpu, describe_gpus, gpus_of_torch, visible_gpus

FOUR = "".join(f"{number}, GPU-{letter * 4}-0, 81920\n" for number, letter in enumerate("abcd"))
GIB_80 = 80 * 2**30


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a command of that name in front of all others; it prints what it is given."""
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "_DRIVERS", (str(tmp_path / "driver"),))

    def prepare(output: str, status: int = 0) -> None:
        module._query.cache_clear()
        (tmp_path / "output").write_text(output)
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat {tmp_path}/output\nexit {status}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    yield prepare
    module._query.cache_clear()


def test_every_gpu_has_its_memory_in_bytes(nvidia_smi):
    nvidia_smi(FOUR)
    assert visible_gpus() == [Gpu(str(number), GIB_80) for number in range(4)]


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("2,0", ["2", "0"]),
        ("GPU-bbbb, 3", ["1", "3"]),
        ("", []),
        ("-1", []),
        ("1,9,2", ["1"]),  # CUDA sees what stands before the first that does not exist
        ("1,1", ["1"]),
        ("GPU-", []),
        ("MIG-7,2", ["MIG-7", "2"]),
    ],
)
def test_hidden_gpus_are_left_out(nvidia_smi, monkeypatch, chosen, names):
    nvidia_smi(FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    found = visible_gpus()
    assert [gpu.name for gpu in found] == names
    assert [gpu.memory for gpu in found] == [None if name.startswith("MIG") else GIB_80 for name in names]


def test_memory_that_is_not_told_is_unknown(nvidia_smi):
    nvidia_smi("0, GPU-a, [N/A]\n")
    assert visible_gpus() == [Gpu("0", None)]


@pytest.mark.parametrize(("output", "status"), [("", 9), ("what?\n", 0)])
def test_without_a_driver_there_are_none_and_with_one_that_fails_nobody_knows(nvidia_smi, tmp_path, output, status):
    nvidia_smi(output, status)
    assert visible_gpus() == []
    (tmp_path / "driver").touch()
    nvidia_smi(output, status)
    assert visible_gpus() is None


def test_a_torch_for_cpus_has_none(nvidia_smi, monkeypatch):
    nvidia_smi(FOUR)
    monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "2.13.0+cpu")
    assert gpus_of_torch() == []
    assert describe_gpus([]) == "the installed torch is built for CPUs"
    monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "2.13.0+cu130")
    assert len(gpus_of_torch()) == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert describe_gpus(gpus_of_torch()) == "this machine has 1 (CUDA_VISIBLE_DEVICES=3)"
