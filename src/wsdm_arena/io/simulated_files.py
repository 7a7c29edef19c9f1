"""The simulated arena's marker: which raw files it wrote, and in which environment."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kedro.io import DatasetError

from wsdm_arena.runs.files import replacing_file, sha256_of

MARKER_NAME = ".simulated_arena.json"
"""Lists the files of its folder that the simulated arena wrote, with the hashes of their contents."""
_ENV_VARIABLE = "KEDRO_ENV"
"""Set by a hook to the environment that runs."""


@dataclass(frozen=True)
class Written:
    """One content that the simulated arena gave a file."""

    sha256: str
    size: int | None = None
    """Bytes; None in markers of older versions, as ``env``."""
    env: str | None = None
    """Environment in which it was written."""


@dataclass(frozen=True)
class SimulatedFile:
    """A file that is as the simulated arena wrote it."""

    path: Path
    env: str | None
    """In which environment; None if the marker does not say."""


def describe_written(path: Path) -> Written:
    """What a file holds that is being written now."""
    return Written(sha256_of(path), path.stat().st_size, os.environ.get(_ENV_VARIABLE))


def noted(path: Path) -> list[Written]:
    """What the marker beside a file says that the simulated arena wrote there.

    Raises:
        DatasetError: The marker is damaged.
    """
    return _read(path.with_name(MARKER_NAME)).get(path.name, [])


def note(path: Path, contents: Sequence[Written]) -> None:
    """Say in the marker beside a file what the simulated arena wrote there, or is about to write."""
    marker = path.with_name(MARKER_NAME)
    files = _read(marker) | {path.name: list(contents)}
    entries = {
        name: [{key: value for key, value in vars(written).items() if value is not None} for written in contents]
        for name, contents in files.items()
    }
    with replacing_file(marker) as partial:
        partial.write_text(json.dumps({"simulated": entries}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def find_written(path: Path, contents: Sequence[Written], sha256: Callable[[Path], str] = sha256_of) -> Written | None:
    """Which of these contents a file has; None if it is not there. It is hashed only if its size is that of one."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    possible = [written for written in contents if written.size in (None, size)]
    digest = sha256(path) if possible else None
    return next((written for written in possible if written.sha256 == digest), None)


def find_simulated(files: Iterable[Path], sha256: Callable[[Path], str] = sha256_of) -> list[SimulatedFile]:
    """Those of these files that are as the simulated arena wrote them.

    Args:
        files: In any folders.
        sha256: Gives a file's hash, such as :meth:`wsdm_arena.runs.digests.DigestCache.sha256`.

    Raises:
        DatasetError: A marker is damaged.
    """
    markers: dict[Path, dict[str, list[Written]]] = {}
    found = []
    for path in files:
        marker = path.with_name(MARKER_NAME)
        if marker not in markers:
            markers[marker] = _read(marker)
        if written := find_written(path, markers[marker].get(path.name, []), sha256):
            found.append(SimulatedFile(path, written.env))
    return found


def _read(marker: Path) -> dict[str, list[Written]]:
    if not marker.exists():
        return {}
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        return {str(name): _entries(entries, content.get("env")) for name, entries in content["simulated"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{marker} is damaged ({error}); nothing was changed. Remove it and the files beside it."
        ) from error


def _entries(entries: object, env: str | None) -> list[Written]:
    """Read a file's entries: objects; hashes alone, as older versions wrote them; one hash, as checkpoints have."""
    if isinstance(entries, str):
        return [Written(entries, env=env)]
    if not isinstance(entries, list):
        raise ValueError("its entries are no lists")
    return [Written(**entry) if isinstance(entry, dict) else Written(str(entry)) for entry in entries]
