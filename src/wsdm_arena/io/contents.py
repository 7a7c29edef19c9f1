"""Where a catalog entry keeps its contents, so that they can be hashed."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError, MemoryDataset

from wsdm_arena.io.path import FolderDataset
from wsdm_arena.io.raw_files import RawCheckpointDataset, RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset


def keeps_contents(dataset: Any) -> bool:
    """Whether an entry has contents of its own on disk, unlike a folder that nodes work in or an object in memory."""
    return not isinstance(dataset, FolderDataset | MemoryDataset)


def files_of(dataset: Any) -> list[Path]:
    """Files, or the directory, that an entry would load now; an empty list where there are none.

    Kedro remembers which version is the newest; this looks anew, and leaves no memory behind.
    """
    match dataset:
        case RawTableDataset() | RawShardsDataset():
            return [] if dataset.describe_absence() else dataset._find_files()
        case RawCheckpointDataset():
            return [] if dataset.describe_absence() else [dataset.load()]
        case AbstractVersionedDataset():
            return _versioned_path(dataset)
        case _:
            raise TypeError(f"{type(dataset).__name__} says nothing of where it keeps its contents")


def newest_version(dataset: Any) -> str | None:
    """Name of the version that an entry would load now; None without any, and for entries without versions."""
    if not isinstance(dataset, AbstractVersionedDataset):
        return None
    dataset.release()
    try:
        return dataset.resolve_load_version()
    except DatasetError:
        return None
    finally:
        dataset.release()


def _versioned_path(dataset: "AbstractVersionedDataset[Any, Any]") -> list[Path]:
    dataset.release()
    try:
        path = Path(str(dataset._get_load_path()))
    except DatasetError:  # no version at all
        return []
    finally:
        dataset.release()
    return [path] if path.exists() else []
