"""What a node's result depends on, and the fingerprint that names it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from kedro.io import DataCatalog
from kedro.pipeline.node import Node
from pydantic import BaseModel

from wsdm_arena.config import describe_effect
from wsdm_arena.io.contents import files_of, keeps_contents, newest_version
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.fingerprint import fingerprint
from wsdm_arena.runs.formats import result_format_of
from wsdm_arena.runs.ledger import Stored

ABSENT = Stored(digest="absent")
"""An optional entry that is not there."""


@dataclass(frozen=True)
class NodeWork:
    """Everything that a node's result depends on, as things stand."""

    node: str
    code_format: int
    parameters: dict[str, Any]
    """By ``params:`` name, without what changes no result."""
    inputs: dict[str, Stored]
    """By catalog name, without folders that nodes work in and what lives in memory only."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        return fingerprint(
            {
                "node": self.node,
                "code_format": self.code_format,
                "parameters": self.parameters,
                "inputs": {name: stored.digest for name, stored in self.inputs.items()},
            }
        )


def describe_work(node: Node, catalog: DataCatalog, cache: DigestCache) -> NodeWork:
    """Look at a node's parameters and at the contents of its inputs; those that are not there are ``absent``."""

    def describe_directory(name: str) -> str:
        return f"directory with contents {cache.digest([Path(name)])[0]}" if Path(name).is_dir() else name

    parameters = {
        name: describe_effect(value, describe_directory) for name, value in _load_parameters(node, catalog).items()
    }
    return NodeWork(
        node=node.name,
        code_format=result_format_of(node.func),
        # a parameter of which nothing matters, such as the launcher, is not worth a line in the ledger
        parameters={name: value for name, value in sorted(parameters.items()) if value != {}},
        inputs=describe_stored([name for name in node.inputs if not is_parameter(name)], catalog, cache),
    )


def _load_parameters(node: Node, catalog: DataCatalog) -> dict[str, Any]:
    """A node's parameters, typed as its function asks: Kedro builds only those of the pipelines that it runs."""
    types = get_type_hints(inspect.unwrap(node.func))
    arguments = node._inputs.items() if isinstance(node._inputs, dict) else zip(types, node.inputs, strict=False)
    loaded = {}
    for argument, name in arguments:
        if is_parameter(name):
            value, wanted = catalog.load(name), types.get(argument)
            if isinstance(value, Mapping) and isinstance(wanted, type) and issubclass(wanted, BaseModel):
                value = wanted.model_validate(value)
            loaded[name] = value
    return loaded


def describe_stored(names: list[str], catalog: DataCatalog, cache: DigestCache) -> dict[str, Stored]:
    """Digest, version and size of entries as they are on disk now, by name; those without contents are left out."""
    described = {}
    for name in sorted(names):
        dataset = catalog[name]
        if not keeps_contents(dataset):
            continue
        files = files_of(dataset)
        if not files:
            described[untranscoded(name)] = ABSENT
            continue
        digest, size = cache.digest(files)
        described[untranscoded(name)] = Stored(digest=digest, size=size, version=newest_version(dataset))
    return described


def is_parameter(name: str) -> bool:
    """Whether a catalog name is that of parameters."""
    return name == "parameters" or name.startswith("params:")


def untranscoded(name: str) -> str:
    """``selection`` of ``selection@path``."""
    return name.partition("@")[0]
