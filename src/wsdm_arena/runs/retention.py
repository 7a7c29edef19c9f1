"""Which versions of catalog entries stay, and why."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsdm_arena.errors import UserError
from wsdm_arena.runs.files import MANIFEST
from wsdm_arena.runs.history import latest_done
from wsdm_arena.runs.layout import SCOREBOARD
from wsdm_arena.runs.ledger import NodeRecord
from wsdm_arena.runs.versions import StoredVersion, newest


class CleaningError(UserError, RuntimeError):
    """It cannot be told what may go."""


def reasons_to_keep(
    data_root: Path,
    versions: Sequence[StoredVersion],
    records: Sequence[NodeRecord],
    entries: Mapping[str, Path],
    keep: int,
) -> dict[Path, str]:
    """Say of the versions that stay what they are needed for, by path. Broken ones may be among them.

    Args:
        data_root: Absolute.
        versions: All there are.
        records: The ledger.
        entries: Folder of versions by catalog name.
        keep: How many of each entry are kept because they are the newest that can be loaded.

    Raises:
        CleaningError: The scoreboard cannot be read, so that nobody knows what it cites.
    """
    reasons = _versions_in_ledger(versions, records, entries) | _cited_versions(data_root, versions)
    by_entry: dict[Path, list[StoredVersion]] = defaultdict(list)
    for version in versions:
        if version.damage is None and version.is_timestamp:
            by_entry[version.entry].append(version)
    for candidates in by_entry.values():
        reasons |= {version.path: f"among the newest {keep}" for version in newest(candidates, records, keep)}
    return reasons


def made_versions(record: NodeRecord, entries: Mapping[str, Path]) -> set[Path]:
    """The versions that a node made, of entries that are known."""
    return {
        entries[name] / stored.version
        for name, stored in record.outputs.items()
        if stored.version is not None and name in entries
    }


def _versions_in_ledger(
    versions: Sequence[StoredVersion], records: Sequence[NodeRecord], entries: Mapping[str, Path]
) -> dict[Path, str]:
    """Versions of each node's last completed run; of an entry that the catalog does not know, all of that name."""
    reasons: dict[Path, str] = {}
    for record in latest_done(records).values():
        reason = f"of the last completed run of {record.node}"
        reasons |= dict.fromkeys(made_versions(record, entries), reason)
        names = {stored.version for name, stored in record.outputs.items() if stored.version and name not in entries}
        reasons |= {version.path: reason for version in versions if version.name in names}
    return reasons


def _cited_versions(data_root: Path, versions: Sequence[StoredVersion]) -> dict[Path, str]:
    """Versions of cited runs, and of each entry's versions that are one cited judge, equal to the byte, the newest."""
    rows = _read_scoreboard(data_root / SCOREBOARD)
    runs, judges = ({row.get(key) for row in rows} - {None} for key in ("run_id", "judge_fingerprint"))
    cited = {version.path for version in versions if version.name in runs}
    newest_of: dict[tuple[Path, bytes], Path] = {}
    for version in sorted(versions, key=lambda version: version.name):
        manifest = _read_manifest(version)
        if manifest is not None and _fingerprint(manifest) in judges:
            newest_of[version.entry, manifest] = version.path
    return dict.fromkeys(cited | set(newest_of.values()), "the scoreboard cites it")


def _read_manifest(version: StoredVersion) -> bytes | None:
    manifest = version.content / MANIFEST
    return manifest.read_bytes() if version.damage is None and manifest.is_file() else None


def _fingerprint(manifest: bytes) -> Any:
    try:
        content = json.loads(manifest)
    except ValueError:
        return None
    return content.get("fingerprint") if isinstance(content, dict) else None


def _read_scoreboard(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it is no list of rows")
    except (ValueError, OSError) as error:
        raise CleaningError(
            f"{path} is damaged ({error}), so nobody knows what it cites. Delete it, let `kedro run` make it again, "
            "then clean"
        ) from None
    return rows
