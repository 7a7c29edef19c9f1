"""The base class of every configuration section, how overlays are merged, and what of a section results depend on."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict


class StrictConfig(BaseModel):
    """A frozen section of the parameter tree in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class _WithoutEffect:
    """See :data:`WITHOUT_EFFECT`."""

    def __repr__(self) -> str:
        return "WITHOUT_EFFECT"


WITHOUT_EFFECT: Final = _WithoutEffect()
"""Marks a field, ``Annotated[int, WITHOUT_EFFECT]``, that changes at most the order of summation, as the number of
processes does, or what is logged: work that was done with another value of it is not done again."""


class _NamesDirectory:
    """See :data:`NAMES_DIRECTORY`."""

    def __repr__(self) -> str:
        return "NAMES_DIRECTORY"


NAMES_DIRECTORY: Final = _NamesDirectory()
"""Marks a field, ``Annotated[str, NAMES_DIRECTORY]``, that may be a directory: its contents count, not its name."""


def describe_effect(value: Any, describe_directory: Callable[[str], Any] = str) -> Any:
    """What of a parameter a result depends on, as JSON: sections without their fields marked :data:`WITHOUT_EFFECT`.

    Args:
        value: A section, a value, or mappings and lists of them.
        describe_directory: Describes the values of fields marked :data:`NAMES_DIRECTORY`.

    Example:
        >>> from wsdm_arena.config.training import LauncherConfig
        >>> describe_effect(LauncherConfig(processes_per_node=4))
        {}
    """
    if isinstance(value, BaseModel):
        described = {}
        for name, field in type(value).model_fields.items():
            if WITHOUT_EFFECT in field.metadata:
                continue
            inner = getattr(value, name)
            is_directory = NAMES_DIRECTORY in field.metadata and isinstance(inner, str)
            described[name] = describe_directory(inner) if is_directory else describe_effect(inner, describe_directory)
        return described
    if isinstance(value, Mapping):
        return {str(key): describe_effect(inner, describe_directory) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [describe_effect(inner, describe_directory) for inner in value]
    return value


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
