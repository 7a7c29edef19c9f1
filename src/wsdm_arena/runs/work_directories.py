"""The directories that work lives in, each named by its fingerprint; versions are hard links into them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsdm_arena.runs.files import MANIFEST, find_damage, last_json_line, read_descriptions
from wsdm_arena.runs.fingerprint import DirectoryChangedError, manifest_digest
from wsdm_arena.runs.layout import (
    ANSWER_STORE,
    BACKBONE_STORE,
    BUNDLE_STORE,
    COMPLETE,
    SCORING_RUNS,
    TOKEN_STORE,
    TRAINING_RUNS,
)
from wsdm_arena.runs.work import Work

Key = tuple[str, str, str]
"""Kind, and the last two parts of the path: a data folder may have moved since the ledger's line was written."""


@dataclass(frozen=True)
class Store:
    """A folder of such directories."""

    kind: str
    """As :class:`wsdm_arena.runs.work.Work` has it."""
    folder: str
    """Within the data folder."""
    pattern: str
    """Of what lies in it."""


STORES = (
    Store("tokens", TOKEN_STORE, "*"),
    Store("training", TRAINING_RUNS, "*/*"),
    Store("backbone", BACKBONE_STORE, "*"),
    Store("bundle", BUNDLE_STORE, "*/*"),
    Store("scoring", SCORING_RUNS, "*/*"),
)
ANSWERS = Store("answers", ANSWER_STORE, "**/*.jsonl")
"""Files: what models have answered costs GPU hours or money."""


@dataclass(frozen=True)
class WorkDirectory:
    """One piece of work on disk."""

    kind: str
    path: Path
    state: Literal["complete", "partial", "damaged", "hollow"]
    """``damaged``: its files are not as its manifest says; ``hollow``: it has no manifest, so it is never reused."""
    remark: str = ""
    """How far a partial one is, or what is wrong with it."""

    @property
    def key(self) -> Key:
        """What the ledger knows it by."""
        return key_of(self.kind, self.path)

    def is_named_by(self, keys: set[Key]) -> bool:
        """Whether it is among those that records name; of answers they may name the folder."""
        return self.key in keys or (self.kind == ANSWERS.kind and key_of(self.kind, self.path.parent) in keys)


def key_of(kind: str, path: Path) -> Key:
    """Name a directory of a store whatever folder the store lies in."""
    return (kind, path.parent.name, path.name)


def keys_of(work: tuple[Work, ...]) -> set[Key]:
    """Names of what a record says was made, resumed or reused."""
    return {key_of(piece.kind, Path(piece.directory)) for piece in work}


def find_work(data_root: Path) -> list[WorkDirectory]:
    """Find every work directory of a data folder, and the files of answers, and see in what state they are."""
    return list(_find_work(data_root))


def _find_work(data_root: Path) -> Iterator[WorkDirectory]:
    for store in STORES:
        yield from (_describe(store.kind, path) for path in _visible(data_root, store) if path.is_dir())
    for path in _visible(data_root, ANSWERS):
        if path.is_file():
            yield WorkDirectory(ANSWERS.kind, path, "complete")


def _visible(data_root: Path, store: Store) -> list[Path]:
    """What lies in a store but for what is being written or removed, which has a hidden name."""
    folder = data_root / store.folder
    found = sorted(folder.glob(store.pattern))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _describe(kind: str, path: Path) -> WorkDirectory:
    if kind in ("training", "scoring"):
        if not (path / COMPLETE).is_file():
            return WorkDirectory(kind, path, "partial", describe_progress(path))
        damage = _damage_of_finished(path)
    elif not (path / MANIFEST).is_file():
        return WorkDirectory(kind, path, "hollow", f"it has no {MANIFEST}")
    else:
        damage = None if kind == "tokens" else _damage_of_weights(path)
    return WorkDirectory(kind, path, "damaged", damage) if damage else WorkDirectory(kind, path, "complete")


def describe_progress(path: Path) -> str:
    """How far an unfinished training or scoring has come: ``update 60 of 125``, ``3 parts``."""
    parts = len(list((path / "parts").glob("part-*.parquet")))
    if parts:
        return f"{parts} parts"
    saved = max((_number(state.name) for state in (path / "state").glob("update-*")), default=0)
    last = last_json_line(path / "metrics.jsonl")
    of = f" of {last['updates']}" if "updates" in last else ""
    return f"update {saved}{of} saved" if saved else f"update {last['update']}{of}, none saved" if last else "not begun"


def _number(name: str) -> int:
    digits = name.removeprefix("update-")
    return int(digits) if digits.isdecimal() else 0


def _damage_of_finished(path: Path) -> str | None:
    try:
        files = read_descriptions(json.loads((path / COMPLETE).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {COMPLETE} is damaged"
    return find_damage(path, files, max_hashed_bytes=0)


def _damage_of_weights(path: Path) -> str | None:
    try:
        manifest_digest(path)
    except DirectoryChangedError as error:
        return str(error)
    return None
