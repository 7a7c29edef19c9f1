"""Download what is missing, check it, and put it where the catalog expects it."""

import dataclasses
import datetime
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdm_arena.config.fetching import FilePin
from wsdm_arena.fetching.errors import FetchError
from wsdm_arena.fetching.hugging_face import download_dataset, download_model
from wsdm_arena.fetching.inputs import Input
from wsdm_arena.fetching.kaggle import download_from_kaggle
from wsdm_arena.fetching.manifest import Fetched, write_fetched
from wsdm_arena.fetching.plan import FetchPlan, PlannedInput
from wsdm_arena.fetching.presence import STAGING_NAME, State, fetched_path, staging_folder
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.digests import DigestCache

logger = logging.getLogger(__name__)

SIMULATED_TRUTH = "simulated_truth.parquet"
"""In ``01_raw`` it says that the simulated arena wrote what is there."""
_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        name: Whose.
        state: What it is now.
        message: What went wrong, with its cure; empty if nothing did.
        bytes: Of its files, where they are known.
    """

    name: str
    state: State
    message: str = ""
    bytes: int = 0


def fetch_inputs(plan: FetchPlan, data_root: Path) -> list[Outcome]:
    """Fetch everything of a plan that is missing; what is there is compared with what was fetched.

    An input that fails does not keep the others from being fetched.

    Raises:
        FetchError: There is no room, or the simulated arena's files are in the way; nothing was downloaded.
        DirectoryInUseError: Another fetch is at work.
    """
    raw = data_root / "01_raw"
    if (raw / SIMULATED_TRUTH).exists():
        raise FetchError(
            f"{raw} holds a simulated arena ({SIMULATED_TRUTH}); choose another environment (--env a100), or another "
            "data_root, so that real and simulated files are not mixed"
        )
    plan.require_room()
    try:
        raw.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"{raw} cannot be made ({error.strerror}); set data_home in conf/local/globals.yml") from error
    digests = DigestCache.of(data_root)
    with lock_directory(raw, wait_s=0):
        outcomes = []
        for planned in plan.inputs:
            try:
                outcomes.append(_fetch(planned, digests))
            except FetchError as error:
                outcomes.append(Outcome(planned.item.name, planned.presence.state, str(error)))
            except OSError as error:
                outcomes.append(Outcome(planned.item.name, planned.presence.state, _tell_disk(planned, error)))
            digests.save()
    return outcomes


def _fetch(planned: PlannedInput, digests: DigestCache) -> Outcome:
    item, presence = planned.item, planned.presence
    match presence.state:
        case State.NAMED:
            return Outcome(item.name, presence.state)
        case State.BY_HAND:
            return Outcome(item.name, presence.state, f"{item.name}: obtain {presence.detail}")
        case State.CHANGED:
            raise FetchError(f"{item.name}: {presence.detail}")
        case State.OWN:
            return Outcome(item.name, presence.state, bytes=_check_own(item, digests))
        case State.FETCHED:
            return Outcome(item.name, presence.state, bytes=_check_fetched(item, presence.fetched, digests))
    if planned.missing_token:
        raise FetchError(f"{item.name}: {planned.missing_token}{_terms(item)}")
    return _download(item, presence.fetched, digests)


def _tell_disk(planned: PlannedInput, error: OSError) -> str:
    return (
        f"{planned.item.name}: {error.filename or planned.place} cannot be written ({error.strerror or error}); what "
        "came is kept, and the same command goes on once there is room and the permission to write"
    )


def _terms(item: Input) -> str:
    return f"; and accept the {item.licence.name} at {item.licence.url}" if item.licence.accept else ""


def _download(item: Input, before: Fetched | None, digests: DigestCache) -> Outcome:
    revision = item.revision or (before.revision if before else None)
    written = _check_kept(item, before, digests)
    lacking = {name: pin for name, pin in item.files.items() if _place_in(item, name) not in written}
    files, revision = _ask_hub(dataclasses.replace(item, files=lacking), revision, digests)
    for name, path in files.items():
        place = _place_in(item, name)
        expected = before.files.get(place) if before and before.revision == revision else None
        written[place] = _check_downloaded(item, name, path, expected, digests)
    if not item.is_model:
        for name, path in files.items():
            item.place(name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, item.place(name))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_fetched(item.folder, item.name, Fetched(item.hub, str(item.handle), revision, now, written))
    _remove_staging(item)
    return Outcome(item.name, State.FETCHED, bytes=sum(each["size"] for each in written.values()))


def _ask_hub(item: Input, revision: str | None, digests: DigestCache) -> tuple[dict[str, Path], str | None]:
    logger.info("%s: fetching %s", item.name, item.handle)
    if item.is_model:
        return download_model(item, revision, digests)
    if item.at_kaggle:
        return download_from_kaggle(item, revision, staging_folder(item))
    return download_dataset(item, revision, staging_folder(item), digests)


def _place_in(item: Input, name: str) -> str:
    """What the manifest calls a file."""
    return name if item.is_model else item.place(name).relative_to(item.folder).as_posix()


def _check_kept(item: Input, before: Fetched | None, digests: DigestCache) -> dict[str, dict[str, Any]]:
    """Files of an input, of which some are missing, that need not be fetched again."""
    if before is None or not item.files:
        return {}
    kept = {name: written for name, written in before.files.items() if (item.folder / name).is_file()}
    _check_fetched(item, dataclasses.replace(before, files=kept), digests)
    return kept


def _check_downloaded(
    item: Input, name: str, path: Path, expected: Mapping[str, Any] | None, digests: DigestCache
) -> dict[str, Any]:
    """Describe a file that came, or move it aside if it is not what it should be."""
    described = {"size": path.stat().st_size, "sha256": digests.sha256(path)}
    pin = item.files.get(name, FilePin())
    fault = ""
    if pin.sha256 not in (None, described["sha256"]):
        fault = f"has SHA-256 {described['sha256']}, but {pin.sha256} is pinned in sources.yml"
    elif pin.bytes not in (None, described["size"]):
        fault = f"has {described['size']:,} bytes, but {pin.bytes:,} are pinned in sources.yml"
    elif expected is not None and pin.sha256 is None and dict(expected) != described:
        fault = (
            f"has SHA-256 {described['sha256']}, but what was fetched before had {expected['sha256']}: the hub has "
            "replaced it (pin the new one's SHA-256 in conf/local/sources.yml to have it)"
        )
    elif name.endswith(".parquet") and not _is_parquet(path):
        fault = "is no whole parquet file"
    if fault:
        raise FetchError(f"{item.name}: {name} {fault}; {_put_aside(item, path)}")
    return described


def _put_aside(item: Input, path: Path) -> str:
    if item.is_model:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        return "it was removed"
    aside = item.folder / STAGING_NAME / f"{path.name}.refused"
    os.replace(path, aside)
    if item.is_archive:  # its client takes it for complete
        shutil.rmtree(staging_folder(item))
    return f"it was put aside as {aside}. Nothing of {item.name} was put into place"


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(path.stat().st_size - 4, 0))
        return head == file.read(4) == _PARQUET_MAGIC


def _check_fetched(item: Input, fetched: Fetched | None, digests: DigestCache) -> int:
    assert fetched is not None
    for name, written in fetched.files.items():
        path = fetched_path(item, fetched, name)
        if (got := digests.sha256(path)) != written["sha256"]:
            raise FetchError(
                f"{item.name}: {path} is not what was fetched {fetched.at}: its SHA-256 is {got}, not "
                f"{written['sha256']}; remove it to fetch it again, or name it under raw in conf/local/globals.yml"
            )
    by_name = {item.place(name).name: pin for name, pin in item.files.items()}
    _compare_pins(item, {name: (written["sha256"], by_name.get(name)) for name, written in fetched.files.items()})
    return sum(written["size"] for written in fetched.files.values())


def _check_own(item: Input, digests: DigestCache) -> int:
    places = {name: item.place(name) for name in item.files}
    _compare_pins(
        item, {name: (digests.sha256(places[name]), pin) for name, pin in item.files.items() if pin.sha256 is not None}
    )
    return sum(path.stat().st_size for path in places.values())


def _compare_pins(item: Input, hashes: Mapping[str, tuple[str, FilePin | None]]) -> None:
    for name, (sha256, pin) in hashes.items():
        if pin is not None and pin.sha256 not in (None, sha256):
            raise FetchError(
                f"{item.name}: {name} in {item.folder} has SHA-256 {sha256}, but {pin.sha256} is "
                "pinned in sources.yml; move it away to fetch it, or correct the pin"
            )


def _remove_staging(item: Input) -> None:
    staging = staging_folder(item)
    shutil.rmtree(staging, ignore_errors=True)
    if staging.parent.is_dir() and not any(staging.parent.iterdir()):
        staging.parent.rmdir()


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Messages of what could not be fetched; what is to be placed by hand is none."""
    return [each.message for each in outcomes if each.message and each.state is not State.BY_HAND]
