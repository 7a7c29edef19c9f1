"""The one base class of every configuration section, and how overlays are merged."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class StrictConfig(BaseModel):
    """A frozen section of the parameter tree in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def deep_merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; later layers win, and only leaves are replaced.

    Example:
        >>> deep_merge({"optimizer": {"name": "adamw", "epsilon": 1e-6}}, {"optimizer": {"name": "stable_adamw"}})
        {'optimizer': {'name': 'stable_adamw', 'epsilon': 1e-06}}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both_nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = deep_merge(merged[key], value) if both_nested else value
    return merged
