"""Which devices a judge runs on, and in which type."""

from collections.abc import Sequence

import torch

from wsdm_arena.distributed import DeviceError
from wsdm_arena.modeling.backbone import DTYPES

AUTO = "auto"
BFLOAT16_CAPABILITY = (8, 0)
"""Compute capability from which on GPUs calculate in bfloat16 (Ampere). Source: NVIDIA, CUDA C++ Programming Guide,
table of features by compute capability."""


def choose_devices(names: Sequence[str]) -> tuple[torch.device, ...]:
    """Turn a configuration's device names into devices, one a stage.

    Args:
        names: ``("auto",)`` for the first GPU or, without one, the CPU; or names such as ``cuda:0``.

    Raises:
        DeviceError: This machine lacks one of them, or there is none.
    """
    if tuple(names) == (AUTO,):
        return (torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"),)
    if not names or AUTO in names:
        raise DeviceError(f"devices={list(names)}: name the devices, or give [auto] alone")
    return tuple(as_device(name) for name in names)


def choose_dtype(name: str, *devices: torch.device) -> torch.dtype:
    """Turn a configuration's dtype into torch's.

    Args:
        name: A dtype, or ``auto``: bfloat16 where every device is a GPU that has it, float16 on other GPUs, float32
            where a device is no GPU.
        devices: Where the judge runs.
    """
    if name != AUTO:
        return DTYPES[name]
    if any(device.type != "cuda" for device in devices):
        return torch.float32
    has_bfloat16 = all(torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY for device in devices)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def as_device(name: torch.device | str) -> torch.device:
    """Name a device with its number: ``cuda`` and ``cuda:0`` would compare unequal.

    Raises:
        DeviceError: There is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError:  # torch lists whatever it was ever built for
        raise DeviceError(
            f"device {name!r}: there is no such kind; name it cpu, cuda or, with its number, cuda:0"
        ) from None
    if device.type != "cuda":
        return device
    number = device.index or 0
    if number >= torch.cuda.device_count():
        raise DeviceError(f"device {name}: this machine has {torch.cuda.device_count()} GPUs that torch can use")
    return torch.device("cuda", number)
