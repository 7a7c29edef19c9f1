"""Where catalog entries keep their versions, also those of judges that no longer take part."""

from collections.abc import Iterable
from pathlib import Path

from kedro.io import AbstractVersionedDataset, DataCatalog
from kedro.pipeline import Pipeline

from wsdm_arena.io.contents import is_versioned, path_of
from wsdm_arena.runs.entry_names import TRANSCODINGS, untranscoded, without_parameters
from wsdm_arena.runs.ledger import NodeRecord


def names_of(pipeline: Pipeline, records: Iterable[NodeRecord]) -> set[str]:
    """Names of entries that a pipeline or the ledger knows, without transcoding."""
    in_ledger = {name for record in records for name in (*record.inputs, *record.outputs)}
    return {untranscoded(name) for name in in_ledger.union(without_parameters(pipeline.datasets()))}


def entry_paths(catalog: DataCatalog, names: Iterable[str]) -> dict[str, tuple[Path, bool]]:
    """Path of each entry that is a file or directory, and whether it has versions; what the catalog lacks is left out.

    Of an entry with versions it is the folder that holds them.
    """
    found = {}
    for name in sorted(names):
        spelled = next((name + coding for coding in TRANSCODINGS if name + coding in catalog), None)
        dataset = None if spelled is None else catalog.get(spelled)
        path = path_of(dataset)
        if path is not None and isinstance(dataset, AbstractVersionedDataset):
            found[name] = (path, is_versioned(dataset))
    return found
