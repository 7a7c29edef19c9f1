"""What the files of a judge's backbone say of it, where they are there already."""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from wsdm_arena.config import package_of
from wsdm_arena.preflight.planned_run import PlannedRun

_MAX_HEADER = 100 << 20
"""Bytes; the format's own limit (huggingface/safetensors)."""


def find_backbone(run: PlannedRun, judge: str) -> Path | None:
    """Directory of a judge's backbone: as imported, as downloaded, or as its configuration names it."""
    candidates = [
        Path(str(getattr(run.catalog[name], "_filepath", "")))
        for name in (f"backbone.{judge}", f"raw_checkpoint.{judge}")
        if name in run.catalog
    ]
    if source := run.config.judges[judge].backbone.source:
        package = package_of(source)
        named = getattr(run.catalog[f"packaged_model.{package}"], "_filepath", "") if package else run.project / source
        candidates[1:] = [Path(str(named))]
    return next((path for path in candidates if (path / "config.json").is_file()), None)


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json`` of a backbone; empty if it cannot be read, which its import will say."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def count_parameters(directory: Path) -> int | None:
    """Numbers in all weights of a directory of safetensors files, read off their headers; None if there are none."""
    files = sorted(directory.glob("*.safetensors"))
    try:
        return sum(_count(path) for path in files) or None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _count(path: Path) -> int:
    """A header is its length in eight bytes, little-endian, and JSON: https://github.com/huggingface/safetensors."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MAX_HEADER:
            raise ValueError(f"{path} is no safetensors file")
        header = json.loads(file.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
