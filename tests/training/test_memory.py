import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from wsdm_arena.training import memory

PEAK = """
import numpy as np, torch
from wsdm_arena.training.memory import peak_memory_bytes

def peak():
    return peak_memory_bytes(torch.device("cpu"))

before = peak()
np.ones(64 << 20, dtype=np.uint8)  # written to, and given back at once
print(before, peak())
"""


def test_the_peak_counts_memory_that_was_given_back() -> None:
    """In a process of its own, which has held less before."""
    shown = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True).stdout
    before, after = map(int, shown.split())
    assert 60 << 20 < after - before < 100 << 20
    assert 10 << 20 < before < psutil.virtual_memory().total


@pytest.mark.parametrize("status", ["Name: python\nVmRSS:\t  5 kB\n", None])
def test_where_the_system_keeps_no_peak_another_count_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    if status is not None:
        (tmp_path / "status").write_text(status)
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert 10 << 20 < memory.peak_memory_bytes(torch.device("cpu")) < psutil.virtual_memory().total
