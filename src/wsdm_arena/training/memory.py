"""How much memory a training needs."""

import re
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
"""proc_pid_status(5): kB, which are KiB."""


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process has held so far on its GPU or, libraries and mapped files included, in main memory."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident_bytes()


def _peak_resident_bytes() -> int:
    """``getrusage`` comes second: on Linux it counts what the process was before it became this program."""
    if _STATUS.exists() and (peak := _PEAK.search(_STATUS.read_text())):  # some sandboxes leave it out
        return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
