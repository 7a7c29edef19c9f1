"""The versions of catalog entries as they lie on disk: ``<entry>/<version>/<entry's name>``, as Kedro has it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.runs.files import MANIFEST
from wsdm_arena.runs.fingerprint import DirectoryChangedError, manifest_digest
from wsdm_arena.runs.layout import MODELS, VERSIONED_LAYERS
from wsdm_arena.runs.ledger import NodeRecord

_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}\.\d{2}\.\d{2}\.\d{3}Z")
"""Kedro's session ids, which are the versions of what a session saves."""


@dataclass(frozen=True)
class StoredVersion:
    """One version of one entry."""

    entry: Path
    """The folder of all versions, absolute."""
    name: str
    damage: str | None = None
    """What is wrong with it; None where nothing is known to be."""
    is_hollow: bool = False
    """Nobody can load it: it is empty, a dead link, or lacks its manifest."""

    @property
    def path(self) -> Path:
        """What holds this version alone."""
        return self.entry / self.name

    @property
    def content(self) -> Path:
        """The file or directory that is loaded."""
        return self.path / self.entry.name

    @property
    def is_timestamp(self) -> bool:
        """Whether a run of Kedro's has named it; others were put there by hand."""
        return _TIMESTAMP.fullmatch(self.name) is not None


def find_versions(data_root: Path, entries: Iterable[Path]) -> list[StoredVersion]:
    """Find all versions of an entry that the catalog knows, and of those below ``data_root`` that it does not.

    Judges that no longer take part are in no pipeline, but what they left is found all the same: a folder with a folder
    that is named as Kedro names versions.

    Args:
        data_root: Absolute.
        entries: Folders of versions, absolute; they need not be there.

    Returns:
        Sorted by entry and name.
    """
    folders = _entry_folders(data_root, set(entries))
    return [_describe(entry, child, data_root) for entry in sorted(folders) for child in _visible_folders(entry)]


def newest(versions: Sequence[StoredVersion], records: Iterable[NodeRecord], count: int) -> set[StoredVersion]:
    """The newest versions of one entry: by name, which is what Kedro goes by, and by the ledger's order.

    The two differ where a clock has jumped back; then both count.
    """
    position: dict[str, int] = {}
    for number, record in enumerate(records):
        position.setdefault(record.run_id, number)
    by_name = sorted(versions, key=lambda version: version.name)
    by_ledger = sorted(by_name, key=lambda version: position.get(version.name, -1))
    return {*by_name[-count:], *by_ledger[-count:]} if count else set()


def _entry_folders(data_root: Path, known: set[Path]) -> set[Path]:
    found = {entry for entry in known if entry.is_dir()}
    pending = [layer for layer in sorted(data_root.glob(VERSIONED_LAYERS)) if layer.is_dir()]
    while pending:
        folder = pending.pop()
        children = _visible_folders(folder)
        if folder in found or any(_TIMESTAMP.fullmatch(child.name) for child in children):
            found.add(folder)
        else:
            pending += [child for child in children if not child.is_symlink()]
    return found


def _visible_folders(folder: Path) -> list[Path]:
    """Folders within a folder, and symbolic links to some or to nothing; hidden ones are being written or removed."""
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    return [child for child in children if child.is_dir() or (child.is_symlink() and not child.exists())]


def _describe(entry: Path, version: Path, data_root: Path) -> StoredVersion:
    content = version / entry.name
    if not content.exists():
        is_link = version.is_symlink() or content.is_symlink()
        what = "it is a symbolic link to what is not there" if is_link else f"it holds no {entry.name}"
        return StoredVersion(entry, version.name, what, is_hollow=True)
    if not content.is_dir() or data_root / MODELS not in content.parents:
        return StoredVersion(entry, version.name)
    try:
        manifest_digest(content)
    except DirectoryChangedError as error:
        return StoredVersion(entry, version.name, str(error), is_hollow=not (content / MANIFEST).is_file())
    return StoredVersion(entry, version.name)
