"""Names of catalog entries as Kedro spells them."""

from collections.abc import Iterable

TRANSCODINGS = ("", "@pandas", "@path")
"""What one entry may be called besides its name: each is another way to load it."""


def is_parameter(name: str) -> bool:
    """Whether a catalog name is that of parameters, not of data."""
    return name == "parameters" or name.startswith("params:")


def without_parameters(names: Iterable[str]) -> list[str]:
    """The names that are of data, in their order."""
    return [name for name in names if not is_parameter(name)]


def untranscoded(name: str) -> str:
    """``selection`` of ``selection@path``: what the ledger calls it."""
    return name.partition("@")[0]
