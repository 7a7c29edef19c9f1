"""Which GPUs there are, without importing torch."""

import importlib.metadata
import os
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
_TIMEOUT_S = 10.0
_MIB = 1 << 20
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Device files of NVIDIA's driver, of GPUs under Windows' subsystem for Linux, of AMD's driver."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that processes of this one would see."""

    name: str
    """Its number, or as ``CUDA_VISIBLE_DEVICES`` calls it."""
    memory: int | None
    """Bytes; None: unknown."""


def gpus_of_torch() -> list[Gpu] | None:
    """GPUs that the installed torch could use: those of :func:`visible_gpus`, and none if it is built for CPUs."""
    return visible_gpus() if has_cuda_build() else []


def visible_gpus() -> list[Gpu] | None:
    """GPUs in the order in which CUDA would number them; None where that cannot be told.

    ``CUDA_VISIBLE_DEVICES`` is read as CUDA does: numbers or beginnings of UUIDs, up to the first that does not exist
    (CUDA C++ Programming Guide, environment variables).
    """
    gpus = _query()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus is None or chosen is None:
        return None if gpus is None else [gpu for _, gpu in gpus]
    visible = []
    for name in (part.strip() for part in chosen.split(",")):
        if name.startswith("MIG-"):  # a slice of a GPU: nvidia-smi's query does not list them
            visible.append(Gpu(name, None))
            continue
        found = [gpu for uuid, gpu in gpus if name and (gpu.name == name or uuid.startswith(name))]
        if len(found) != 1 or found[0] in visible:
            break
        visible.append(found[0])
    return visible


def describe_gpus(gpus: list[Gpu]) -> str:
    """For messages: how many torch could use, and why not more."""
    if not has_cuda_build():
        return "the installed torch is built for CPUs"
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if chosen is None else f" (CUDA_VISIBLE_DEVICES={chosen})"
    return f"this machine has {len(gpus)}{hidden}"


def has_cuda_build() -> bool:
    """Whether the installed torch could use a GPU; its version says if it is built for CPUs only."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


@lru_cache(maxsize=1)
def _query() -> list[tuple[str, Gpu]] | None:
    """UUID and GPU of each that the driver knows; an empty list without a driver, None if it cannot be asked."""
    try:
        ran = subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
        rows = [[value.strip() for value in line.split(",")] for line in ran.stdout.splitlines() if line.strip()]
        return [(uuid, Gpu(number, int(memory) * _MIB if memory.isdigit() else None)) for number, uuid, memory in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None if any(Path(driver).exists() for driver in _DRIVERS) else []
