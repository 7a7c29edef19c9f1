"""What of an input is here already, by names and sizes alone."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wsdm_arena.fetching.inputs import Input
from wsdm_arena.fetching.manifest import Fetched, read_fetched

STAGING_NAME = ".fetching"
"""Folder beside an input's files in which it is downloaded and checked."""


class State(StrEnum):
    """What there is to do about an input."""

    FETCHED = "fetched"
    """It is as it was fetched."""
    OWN = "there, not by fetch"
    """Files lie there that somebody else put there; they are left alone."""
    NAMED = "named by you"
    """Files of one's own are named under ``raw``."""
    BY_HAND = "to be placed by hand"
    """No hub has it."""
    PARTIAL = "partly fetched"
    """A download was interrupted."""
    MISSING = "missing"
    CHANGED = "changed"
    """It is not what was fetched, or what is wanted now."""


@dataclass(frozen=True)
class Presence:
    """What is here of an input.

    Attributes:
        state: What there is to do.
        detail: What is wrong, in a sentence with its cure; or what there is to know.
        fetched: What the manifest says of it.
        bytes_here: Of it that need not be downloaded any more.
    """

    state: State
    detail: str = ""
    fetched: Fetched | None = None
    bytes_here: int = 0


def staging_folder(item: Input) -> Path:
    """Where an input is downloaded to before it is in its place; a model's files go to the hub's cache at once."""
    return item.folder / STAGING_NAME / item.name.replace("/", "--")


def find_presence(item: Input) -> Presence:
    """Look for an input, without reading its files.

    Raises:
        FetchError: The manifest beside it is damaged.
    """
    if item.own_files is not None:
        return Presence(State.NAMED, item.own_files)
    if item.handle is None:
        there = visible_files(item.folder)
        return Presence(State.OWN) if there else Presence(State.BY_HAND, f"{item.how}; it goes to {item.folder}")
    fetched = read_fetched(item.folder).get(item.name)
    if fetched is None or not _is_about(item, fetched):
        return _find_unrecorded(item)
    if conflict := _describe_conflict(item, fetched):
        return Presence(State.CHANGED, conflict, fetched)
    return _compare_sizes(item, fetched)


def fetched_path(item: Input, fetched: Fetched, name: str) -> Path:
    """Where a file of the manifest lies."""
    return (snapshot_folder(item, fetched.revision) if item.is_model else item.folder) / name


def hub_cache() -> Path:
    """Where Hugging Face's client keeps models on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def snapshot_folder(item: Input, revision: str | None) -> Path:
    """A model's folder in the hub's cache; one that is not there where the revision is unknown."""
    repository = "--".join(("models", *str(item.handle).split("/")))
    return hub_cache() / repository / "snapshots" / (revision or "unknown")


def visible_files(folder: Path) -> list[Path]:
    """All files in a folder but hidden ones and those in hidden folders, sorted."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _is_about(item: Input, fetched: Fetched) -> bool:
    """Whether what was fetched is what is wanted now, or at least in its way."""
    if item.revision in (None, fetched.revision) and (fetched.hub, fetched.handle) == (item.hub, item.handle):
        return True
    return not item.is_model and any(fetched_path(item, fetched, name).exists() for name in fetched.files)


def _describe_conflict(item: Input, fetched: Fetched) -> str:
    if (fetched.hub, fetched.handle) != (item.hub, item.handle):
        return f"{item.folder} holds {fetched.handle}, not {item.handle}; move it away to fetch the other"
    if item.revision not in (None, fetched.revision):
        return (
            f"{item.folder} holds revision {fetched.revision}, fetched {fetched.at}, but {item.revision} is pinned; "
            "move it away to fetch the other, or correct the pin in sources.yml"
        )
    return ""


def _compare_sizes(item: Input, fetched: Fetched) -> Presence:
    here = 0
    missing = []
    for name, written in fetched.files.items():
        path = fetched_path(item, fetched, name)
        if not path.is_file():
            missing.append(name)
        elif path.stat().st_size != written["size"]:
            return Presence(
                State.CHANGED,
                f"{path} has {path.stat().st_size:,} bytes, not the {written['size']:,} that were fetched; "
                "remove it to fetch it again, or name it under raw in conf/local/globals.yml if it is yours",
                fetched,
            )
        else:
            here += written["size"]
    if missing and not here:
        return Presence(State.MISSING, f"it was fetched {fetched.at}", fetched, _staged_bytes(item))
    if missing:
        return Presence(State.PARTIAL, f"{missing[0]} is missing", fetched, here + _staged_bytes(item))
    return Presence(State.FETCHED, f"revision {fetched.revision}" if fetched.revision else "", fetched, here)


def _find_unrecorded(item: Input) -> Presence:
    if item.is_model:
        cached = sum(path.stat().st_size for path in (snapshot_folder(item, None).parents[1] / "blobs").glob("*"))
        return Presence(
            State.PARTIAL if cached else State.MISSING, "in the hub's cache" if cached else "", None, cached
        )
    named = [item.place(name) for name in item.files]
    there = [path for path in named if path.exists()] if named else visible_files(item.folder)
    if there and len(there) < len(named):
        return Presence(
            State.CHANGED, f"{there[0]} is there and was not fetched, others are missing; move it away to fetch all"
        )
    if there:
        return Presence(State.OWN)
    staged = _staged_bytes(item)
    return Presence(State.PARTIAL if staged else State.MISSING, "", None, staged)


def _staged_bytes(item: Input) -> int:
    return sum(path.stat().st_size for path in staging_folder(item).rglob("*") if path.is_file())
