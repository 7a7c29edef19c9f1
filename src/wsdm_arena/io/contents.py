"""Where a catalog entry keeps its contents and versions, so that they can be hashed and linked.

Only here are attributes of Kedro's datasets read that it keeps private: it has no public ones for these.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError, MemoryDataset

from wsdm_arena.io.path import FolderDataset
from wsdm_arena.io.raw_dataset import RawDataset
from wsdm_arena.io.raw_files import RawCheckpointDataset

VersionedDataset = AbstractVersionedDataset[Any, Any]


def keeps_contents(dataset: Any) -> bool:
    """Whether an entry has contents of its own on disk, unlike a folder that nodes work in or an object in memory."""
    return not isinstance(dataset, FolderDataset | MemoryDataset)


def files_of(dataset: Any) -> list[Path]:
    """Files, or the directory, that an entry would load now; an empty list where there are none.

    Kedro remembers which version is the newest; this looks anew, and leaves no memory behind.
    """
    match dataset:
        case RawDataset():
            return dataset.present_files()
        case RawCheckpointDataset():
            return [] if dataset.describe_absence() else [dataset.load()]
        case AbstractVersionedDataset():
            return _current_path(dataset)
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


def path_of(dataset: Any) -> Path | None:
    """The path that the catalog gives an entry, absolute; of one with versions it is the folder that holds them.

    Returns:
        None for what is in memory, and for a list of paths.
    """
    path = getattr(dataset, "_filepath", None)
    return Path(os.path.abspath(path)) if isinstance(path, str | os.PathLike) else None


def is_versioned(dataset: Any) -> bool:
    """Whether saving an entry makes a new version of it."""
    return isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None


def versions_of(dataset: Any) -> list[str]:
    """Names of an entry's versions, the last one first; none if it has no versions."""
    if not is_versioned(dataset):
        return []
    try:
        return list(dataset.list_versions(full_path=False))
    except DatasetError:  # there is none yet
        return []


def versioned_path(dataset: VersionedDataset, version: str) -> Path:
    """The file or directory that is one version of an entry; it need not be there."""
    return Path(str(dataset._get_versioned_path(version)))


@contextmanager
def saving_path(dataset: VersionedDataset) -> Iterator[Path]:
    """Yield the path to which an entry's next version goes; what Kedro remembers of versions is forgotten afterwards.

    Raises:
        DatasetError: A version of this name is there already.
    """
    dataset.release()
    try:
        yield Path(str(dataset._get_save_path()))
    finally:
        dataset.release()


def _current_path(dataset: VersionedDataset) -> list[Path]:
    dataset.release()
    try:
        path = Path(str(dataset._get_load_path()))
    except DatasetError:  # no version at all
        return []
    finally:
        dataset.release()
    return [path] if path.exists() else []
