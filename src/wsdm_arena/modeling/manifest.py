"""Manifests: what a directory of weights says of itself, written when all else is there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsdm_arena.errors import UserError
from wsdm_arena.runs.files import CARD, MANIFEST, describe_file, flush, read_descriptions


class ManifestError(UserError, RuntimeError):
    """A directory's manifest is missing, damaged, or of something else."""


def write_manifest(
    directory: Path, fields: Mapping[str, Any], *, described: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Name every file below a directory but its card with size and SHA-256, and have the disk hold all of them.

    Args:
        directory: Complete but for the manifest.
        fields: What else the manifest says.
        described: Sizes and checksums that are known already, by path within the directory.
    """
    found = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / CARD)
    paths = {path.relative_to(directory).as_posix(): path for path in found}
    known = described or {}
    files = {name: dict(known[name]) if name in known else describe_file(path) for name, path in paths.items()}
    for path in paths.values():
        flush(path)
    target = directory / MANIFEST
    target.write_text(
        json.dumps({**fields, "files": files}, indent=2, sort_keys=True, allow_nan=False), encoding="utf-8"
    )
    flush(target)


def read_manifest(directory: Path, *, formats: Mapping[str, int], what: str, cure: str) -> dict[str, Any]:
    """Read a manifest.

    Args:
        directory: Whose.
        formats: Kinds that are accepted, and which format of each this version reads.
        what: What messages call such a directory.
        cure: What helps where there is no manifest.

    Raises:
        ManifestError: There is none, it is damaged, of another kind or format, or names files outside of the directory.
    """
    path = Path(directory) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(f"{directory} is no complete {what}: it has no {MANIFEST}; {cure}") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise ManifestError(f"{path} is damaged: {error}") from error
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    if not isinstance(kind, str) or kind not in formats:
        raise ManifestError(f"{path} describes {kind!r}, not a {' or '.join(map(repr, formats))}")
    if manifest.get("format") != formats[kind]:
        raise ManifestError(f"{path} has format {manifest.get('format')}, this version reads {formats[kind]}: {cure}")
    try:
        files = read_descriptions(manifest.get("files"))
    except ValueError as error:
        raise ManifestError(f"{path} is damaged: {error}") from error
    return {**manifest, "files": files}
