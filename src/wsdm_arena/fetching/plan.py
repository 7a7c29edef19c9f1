"""What a fetch would do: every input with its size, terms, place and state; room on disk. Nothing is asked of a hub."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.fetching.errors import FetchError
from wsdm_arena.fetching.inputs import Input
from wsdm_arena.fetching.presence import Presence, State, find_presence, hub_cache
from wsdm_arena.fetching.tokens import describe_missing_token

_TO_FETCH = (State.MISSING, State.PARTIAL)


@dataclass(frozen=True)
class PlannedInput:
    """An input and what there is to do about it.

    Attributes:
        item: The input.
        presence: What is here of it.
        missing_token: Which token it needs and how to get it; empty if nothing is missing.
    """

    item: Input
    presence: Presence
    missing_token: str

    @property
    def is_wanted(self) -> bool:
        """Whether something is to be downloaded."""
        return self.presence.state in _TO_FETCH

    @property
    def place(self) -> Path:
        """File or folder that it becomes; of a model, the hub's cache."""
        if self.item.is_model:
            return hub_cache()
        return self.item.place(next(iter(self.item.files))) if len(self.item.files) == 1 else self.item.folder

    @property
    def bytes_to_download(self) -> int | None:
        """How much is left, about; None: unknown."""
        if not self.is_wanted:
            return 0
        return None if self.item.bytes is None else max(0, self.item.bytes - self.presence.bytes_here)

    @property
    def bytes_on_disk(self) -> int:
        """Free room that it takes to fetch it, about; what is unknown counts as nothing."""
        unpacking = (self.item.bytes or 0) if self.is_wanted and self.item.is_archive else 0
        return (self.bytes_to_download or 0) + unpacking


@dataclass(frozen=True)
class Disk:
    """One file system that inputs go to: the folder that stands for it, free bytes, bytes that are needed at most."""

    folder: Path
    free: int
    needed: int


@dataclass(frozen=True)
class FetchPlan:
    """All inputs that were asked for."""

    inputs: tuple[PlannedInput, ...]
    disks: tuple[Disk, ...]

    @property
    def bytes_to_download(self) -> int:
        """Sum of what is known."""
        return sum(planned.bytes_to_download or 0 for planned in self.inputs)

    def require_room(self) -> None:
        """Make sure that what is known to come fits.

        Raises:
            FetchError: A disk is too small; says by how much.
        """
        for disk in self.disks:
            if disk.needed > disk.free:
                raise FetchError(
                    f"{disk.folder} has {disk.free / 1e9:,.1f} GB free, and {disk.needed / 1e9:,.1f} GB are to come. "
                    "Make room, name fewer, or set data_home in conf/local/globals.yml (data) or HF_HOME (models)"
                )


def plan_fetch(inputs: Sequence[Input], names: Sequence[str] = ()) -> FetchPlan:
    """Look at what is here.

    Args:
        inputs: All of the environment.
        names: Those that are asked for; a model also goes by the judge or answer model that it is; none: all.

    Raises:
        FetchError: A name is unknown, a model is wanted at two revisions, or a manifest is damaged.
    """
    chosen = _choose(inputs, names)
    if conflicts := [item.conflict for item in chosen if item.conflict]:
        raise FetchError("\n       ".join(conflicts))
    planned = tuple(PlannedInput(item, find_presence(item), describe_missing_token(item)) for item in chosen)
    return FetchPlan(planned, tuple(_measure_disks(planned)))


def _choose(inputs: Sequence[Input], names: Sequence[str]) -> list[Input]:
    chosen = []
    for name in names:
        found = [item for item in inputs if name == item.name or name in item.aliases]
        if not found:
            known = ", ".join(name for item in inputs for name in (item.aliases or (item.name,)))
            raise FetchError(f"there is no input {name!r} here; known: {known}")
        chosen += [item for item in found if item not in chosen]
    return chosen if names else list(inputs)


def _measure_disks(planned: Sequence[PlannedInput]) -> list[Disk]:
    folders: dict[int, Path] = {}
    needed: dict[int, int] = {}
    for each in planned:
        if each.item.own_files is not None:
            continue
        folder = existing_folder(each.place)
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        needed[device] = needed.get(device, 0) + each.bytes_on_disk
    return [Disk(folder, shutil.disk_usage(folder).free, needed[device]) for device, folder in folders.items()]


def existing_folder(path: Path) -> Path:
    """The innermost folder of a path that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
