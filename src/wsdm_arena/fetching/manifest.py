"""What was fetched: ``.fetched.json`` in the folder that it lies in."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsdm_arena.fetching.errors import FetchError
from wsdm_arena.runs.files import read_descriptions, write_atomically

MANIFEST_NAME = ".fetched.json"
FORMAT = 1


@dataclass(frozen=True)
class Fetched:
    """What one download was.

    Attributes:
        hub: Where it came from.
        handle: Its name there.
        revision: Commit or version; None where the hub knows none.
        at: When, in UTC.
        files: Size and SHA-256 by path within the folder; of a model, within its snapshot in the hub's cache.
    """

    hub: str
    handle: str
    revision: str | None
    at: str
    files: dict[str, dict[str, Any]]


def read_fetched(folder: Path) -> dict[str, Fetched]:
    """Read what was fetched into a folder, by name of the input; nothing where nothing was.

    Raises:
        FetchError: The file is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        tree = json.loads(path.read_bytes())
        if tree["format"] != FORMAT:
            raise ValueError(f"its format is {tree['format']!r}, not {FORMAT}")
        return {name: _read_one(entry) for name, entry in tree["inputs"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FetchError(
            f"{path} is damaged ({error}); remove it: what lies beside it is then taken for files of your own"
        ) from None


def write_fetched(folder: Path, name: str, fetched: Fetched) -> None:
    """Add an input to what was fetched into a folder, or replace it."""
    known = read_fetched(folder) | {name: fetched}
    tree = {"format": FORMAT, "inputs": {each: asdict(entry) for each, entry in sorted(known.items())}}
    write_atomically(folder / MANIFEST_NAME, (json.dumps(tree, indent=1) + "\n").encode())


def _read_one(entry: dict[str, Any]) -> Fetched:
    return Fetched(
        hub=str(entry["hub"]),
        handle=str(entry["handle"]),
        revision=None if entry["revision"] is None else str(entry["revision"]),
        at=str(entry["at"]),
        files=read_descriptions(entry["files"]),
    )
