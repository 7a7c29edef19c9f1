"""What a node's result depends on, and the fingerprint that names it."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from kedro.io import DataCatalog
from kedro.pipeline.node import Node
from pydantic import BaseModel

from wsdm_arena.config import describe_effect
from wsdm_arena.io.contents import files_of, keeps_contents, newest_version, path_of
from wsdm_arena.io.tokens import TokensDataset
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.entry_names import is_parameter, untranscoded
from wsdm_arena.runs.fingerprint import fingerprint
from wsdm_arena.runs.formats import result_format_of
from wsdm_arena.runs.ledger import Stored

logger = logging.getLogger(__name__)

ABSENT = Stored(digest="absent")
"""An entry that is not there."""
UNREADABLE = Stored(digest="unreadable")
"""An entry that is there, but cannot be read."""


@dataclass(frozen=True)
class NodeWork:
    """Everything that a node's result depends on, as things stand."""

    node: str
    code_format: str
    parameters: dict[str, Any]
    """By ``params:`` name, without what changes no result."""
    inputs: dict[str, Stored]
    """By catalog name, without folders that nodes work in and what lives in memory only."""
    wiring: tuple[str, ...]
    """``argument=entry`` of every input in the function's order, which decides whose predictions come first."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        return fingerprint(
            {
                "node": self.node,
                "code_format": self.code_format,
                "parameters": self.parameters,
                "inputs": {name: stored.digest for name, stored in self.inputs.items()},
                "wiring": self.wiring,
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
        wiring=tuple(f"{argument}={name}" for argument, name in arguments_of(node)),
    )


def arguments_of(node: Node) -> list[tuple[str, str]]:
    """Arguments of a node's function and the catalog names they get, in the order in which the function gets them."""
    if isinstance(node._inputs, dict):
        return list(node._inputs.items())
    names = list(inspect.signature(node.func).parameters)
    return [(names[min(i, len(names) - 1)], name) for i, name in enumerate(node.inputs)]


def _load_parameters(node: Node, catalog: DataCatalog) -> dict[str, Any]:
    """A node's parameters, typed as its function asks: Kedro builds only those of the pipelines that it runs."""
    types = get_type_hints(inspect.unwrap(node.func))
    loaded = {}
    for argument, name in arguments_of(node):
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
        described[untranscoded(name)] = _describe_dataset(dataset, cache)
    return described


def _describe_dataset(dataset: Any, cache: DigestCache) -> Stored:
    try:
        files = files_of(dataset)
        if isinstance(dataset, TokensDataset) and files:
            if dataset.lacks_tables():
                return ABSENT
            files = [*files, *dataset.files()]
        if not files:
            return ABSENT
        digest, size = cache.digest(files)
    except OSError as error:  # a link that leads nowhere, a file that nobody may read
        logger.warning("%s cannot be read: %s", path_of(dataset) or dataset, error)
        return UNREADABLE
    return Stored(digest=digest, size=size, version=newest_version(dataset))
