"""What of a data folder may go: old versions, and the work directories that nothing which stays was made in.

Kept are the newest versions of every entry, those that the scoreboard cites and those of each node's last completed
run, and the work directories that the records of such versions name. A checkpoint's version is hard links into its run
directory, so both go together: one alone would free nothing.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.runs.directories import recover_directories
from wsdm_arena.runs.history import latest_done
from wsdm_arena.runs.ledger import Ledger, NodeRecord
from wsdm_arena.runs.removal import (
    File,
    disk_bytes,
    freed_bytes,
    list_files,
    remove_as_a_whole,
    remove_empty_folders,
)
from wsdm_arena.runs.retention import made_versions, reasons_to_keep
from wsdm_arena.runs.versions import StoredVersion, find_versions
from wsdm_arena.runs.work_directories import ANSWERS, STORES, Key, WorkDirectory, find_work, keys_of

VERSION, LEFTOVER = "version", "leftover"
"""Kinds of items beside those of :class:`wsdm_arena.runs.work.Work`."""


@dataclass(frozen=True)
class CleaningRules:
    """What may go besides what is always superseded."""

    keep: int = 2
    """Newest versions of every entry that stay."""
    unknown: bool = False
    """Remove work directories that no record names and no version is linked to."""
    partial: bool = False
    """Remove unfinished trainings and scorings; they start anew then."""
    answers: bool = False
    """Remove answers that no kept record names."""


@dataclass(frozen=True)
class Item:
    """Something that stays or goes."""

    path: Path
    kind: str
    """``version``, ``leftover``, or the kind of work."""
    is_removed: bool
    reason: str
    needs_attention: bool = False
    """A person should look at it."""
    disk_bytes: int = 0
    """What it takes; several may be links to the same files."""


@dataclass(frozen=True)
class CleaningPlan:
    """What would stay and what would go."""

    data_root: Path
    items: tuple[Item, ...]
    freed_bytes: int
    """What the disk would gain."""

    @property
    def removed(self) -> tuple[Item, ...]:
        """What goes."""
        return tuple(item for item in self.items if item.is_removed)


@dataclass(frozen=True)
class Cleaned:
    """What has been done."""

    removed: tuple[Item, ...]
    failures: dict[Path, str]
    """Why something is still there."""
    freed_bytes: int


def plan_cleaning(data_root: Path, entries: Mapping[str, Path], rules: CleaningRules = CleaningRules()) -> CleaningPlan:
    """Decide of every version and work directory whether it stays; nothing is changed.

    Args:
        data_root: Need not be there.
        entries: Folders of versions by catalog name without transcoding: of all entries in pipelines and in
            the ledger.
        rules: How much is kept.

    Raises:
        CleaningError: The scoreboard cannot be read, so that nobody knows what it cites.
    """
    data_root = Path(os.path.abspath(data_root))
    entries = {name: Path(os.path.abspath(path)) for name, path in entries.items()}
    records = Ledger.of(data_root).records()
    versions = find_versions(data_root, entries.values())
    found = find_work(data_root)
    leftovers = _find_leftovers(data_root, versions)
    paths = [version.path for version in versions] + [work.path for work in found] + leftovers
    files = {path: list_files(path) for path in paths}
    reasons = reasons_to_keep(data_root, versions, records, entries, rules.keep)
    judged = {version.path: _judge_version(version, reasons.get(version.path)) for version in versions}
    items = [*judged.values(), *_judge_work(found, judged, records, entries, rules, files)]
    gone = {item.path for item in items if item.is_removed}
    items += [
        Item(path, LEFTOVER, is_removed=True, reason="a process was killed while it wrote or removed it")
        for path in leftovers
        if not gone.intersection(path.parents)
    ]
    sized = tuple(_with_size(item, files[item.path]) for item in items)
    return CleaningPlan(
        data_root, sized, freed_bytes(file for item in sized if item.is_removed for file in files[item.path])
    )


def clean(plan: CleaningPlan) -> Cleaned:
    """Do what a plan says; the caller holds the data folder's lock, and the plan was made under it.

    Each directory goes as a whole. Folders that are empty then go, too.
    """
    files = {item.path: list_files(item.path) for item in plan.removed}  # now, while all links are still there
    removed, failures = [], {}
    for item in plan.removed:
        try:
            _remove(item)
        except OSError as error:
            failures[item.path] = str(error)
            continue
        removed.append(item)
        remove_empty_folders(item.path.parent, plan.data_root)
    return Cleaned(tuple(removed), failures, freed_bytes(file for item in removed for file in files[item.path]))


def _remove(item: Item) -> None:
    if item.kind != LEFTOVER:
        remove_as_a_whole(item.path)
        return
    recover_directories(item.path.parent, "*")
    if item.path.exists():
        raise OSError(f"{item.path} is in use by another process")


def _judge_version(version: StoredVersion, reason: str | None) -> Item:
    if not version.is_timestamp:
        state = f"; {version.damage}" if version.damage else ""
        return Item(version.path, VERSION, False, f"no run has named it so: it was put there by hand{state}", True)
    if version.is_hollow:
        return Item(version.path, VERSION, True, version.damage or "", needs_attention=True)
    shown = "; ".join(text for text in (reason or "superseded", version.damage) if text)
    return Item(version.path, VERSION, reason is None, shown, needs_attention=version.damage is not None)


def _judge_work(
    found: Sequence[WorkDirectory],
    versions: Mapping[Path, Item],
    records: Sequence[NodeRecord],
    entries: Mapping[str, Path],
    rules: CleaningRules,
    files: Mapping[Path, Sequence[File]],
) -> Iterator[Item]:
    kept = {path for path, item in versions.items() if not item.is_removed}
    current = _current_records(records, entries, kept)
    protected: set[Key] = set().union(*(keys_of(record.work) for record in current))
    waiting: set[Key] = set().union(*(keys_of(record.work) for record in _failed_since(records)))
    known: set[Key] = set().union(*(keys_of(record.work) for record in records))
    linked: dict[tuple[int, int], set[Path]] = defaultdict(set)
    for path in versions:
        for file in files[path]:
            linked[file.inode].add(path)
    for work in found:
        links = set().union(*(linked[file.inode] for file in files[work.path] if file.inode in linked))
        yield _judge_directory(work, protected, waiting, known, links, kept, rules)


def _current_records(
    records: Sequence[NodeRecord], entries: Mapping[str, Path], kept: set[Path]
) -> Iterator[NodeRecord]:
    """Records that something which stays was made in, and each node's last completed one."""
    latest = latest_done(records)
    for record in records:
        if record is latest.get(record.node) or made_versions(record, entries) & kept:
            yield record


def _failed_since(records: Sequence[NodeRecord]) -> Iterator[NodeRecord]:
    """Failures after each node's last completed run, in which work may have been finished that the next run takes."""
    latest = latest_done(records)
    has_ended: set[str] = set()
    for record in records:
        if record is latest.get(record.node):
            has_ended.add(record.node)
        elif record.outcome == "failed" and (record.node in has_ended or record.node not in latest):
            yield record


def _judge_directory(
    work: WorkDirectory,
    protected: set[Key],
    waiting: set[Key],
    known: set[Key],
    links: set[Path],
    kept: set[Path],
    rules: CleaningRules,
) -> Item:
    def stays(reason: str, needs_attention: bool = False) -> Item:
        return Item(work.path, work.kind, False, reason, needs_attention)

    def goes(reason: str, needs_attention: bool = False) -> Item:
        return Item(work.path, work.kind, True, reason, needs_attention)

    is_damaged = work.state == "damaged"
    damage = f"; {work.remark}" if is_damaged else ""
    if work.state == "hollow":
        return goes(work.remark, needs_attention=True)
    if work.is_named_by(protected):
        return stays(f"what is kept was made in it{damage}", is_damaged)
    if links & kept:
        return stays(f"versions that are kept are links to it{damage}", is_damaged)
    if work.state == "partial":
        remark = f"unfinished: {work.remark}"
        return goes(remark, True) if rules.partial else stays(f"{remark}; --partial removes it", True)
    if work.kind == ANSWERS.kind:
        return goes("superseded answers") if rules.answers else stays("answers stay; --answers removes them")
    if work.is_named_by(waiting):
        return stays(f"finished before its node failed: the next run takes it{damage}", is_damaged)
    if work.is_named_by(known):
        return goes(f"superseded{damage}", is_damaged)
    if links:
        return goes(f"the versions that are links to it go, too{damage}", is_damaged)
    return goes("unknown", True) if rules.unknown else stays(f"no record names it; --unknown removes it{damage}", True)


def _find_leftovers(data_root: Path, versions: Sequence[StoredVersion]) -> list[Path]:
    """Directories that a killed process was writing or removing; those of living ones are told when they shall go."""
    folders = {version.entry for version in versions} | {version.path for version in versions}
    for store in STORES:
        root = data_root / store.folder
        folders |= {root, *(path.parent for path in root.glob(store.pattern))}
    return sorted(path for folder in folders for path in folder.glob(".*.partial") if path.is_dir())


def _with_size(item: Item, files: Sequence[File]) -> Item:
    return Item(item.path, item.kind, item.is_removed, item.reason, item.needs_attention, disk_bytes(files))
