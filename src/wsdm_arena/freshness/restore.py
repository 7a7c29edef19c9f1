"""What an earlier run made of the very same inputs becomes the newest version again, without a byte being copied."""

import logging
from pathlib import Path

from kedro.io import AbstractVersionedDataset, DataCatalog
from kedro.pipeline.node import Node

from wsdm_arena.io.contents import VersionedDataset, saving_path, versioned_path
from wsdm_arena.io.directory import CheckpointDataset
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.directories import link_tree, replacing_directory
from wsdm_arena.runs.entry_names import untranscoded
from wsdm_arena.runs.files import link_or_copy, replacing_file
from wsdm_arena.runs.ledger import NodeRecord, Stored

logger = logging.getLogger(__name__)


def restore_outputs(node: Node, earlier: NodeRecord, catalog: DataCatalog, cache: DigestCache) -> bool:
    """Give every output of a node a new version that is hard links to the one that an earlier run saved.

    Args:
        node: Whose.
        earlier: A run of it on the same inputs, parameters and code.
        catalog: Of the session, whose save version the new ones get.
        cache: Of digests; versions that are not as they were saved are not used.

    Returns:
        Whether that was done. It is not where an output has no versions, or the earlier one is gone or has changed.
    """
    found: list[tuple[VersionedDataset, Path]] = []
    for name in node.outputs:
        dataset, stored = catalog[name], earlier.outputs.get(untranscoded(name))
        if not isinstance(dataset, AbstractVersionedDataset) or stored is None or stored.version is None:
            return False
        path = versioned_path(dataset, stored.version)
        if not _is_as_saved(path, stored, cache):
            return False
        found.append((dataset, path))
    for dataset, path in found:
        _save_link(dataset, path)
    return bool(found)


def _is_as_saved(path: Path, stored: Stored, cache: DigestCache) -> bool:
    try:
        return path.exists() and cache.digest([path])[0] == stored.digest
    except OSError as error:
        logger.warning("%s cannot be read and is not taken again: %s", path, error)
        return False


def _save_link(dataset: VersionedDataset, path: Path) -> None:
    with saving_path(dataset) as target:
        if isinstance(dataset, CheckpointDataset):
            with replacing_directory(target) as partial:
                link_tree(path, partial)
        else:
            with replacing_file(target) as partial:
                link_or_copy(path, partial)
