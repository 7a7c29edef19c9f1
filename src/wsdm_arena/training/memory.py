"""How much memory a training needs."""

import resource
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process has held so far on its GPU or, libraries and mapped files included, in main memory."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident_bytes()


def _peak_resident_bytes() -> int:
    """Linux's ``getrusage`` would also count what the process was before it became this program."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS, in bytes
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024  # proc_pid_status(5): kB, which are KiB
