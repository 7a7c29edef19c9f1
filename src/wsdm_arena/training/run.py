"""The run directory: what a training reads and leaves, and how each piece is written so that it is whole or absent.

``run.json`` (read), ``metrics.jsonl``, ``evaluations.jsonl``, ``state/`` while training, ``model/``,
``evaluations/update-000123/``, ``predictions_at_start.parquet``, ``predictions.parquet`` and, last, ``complete.json``.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from wsdm_arena.config import RunConfig
from wsdm_arena.errors import UserError
from wsdm_arena.processes.lock import LOCK_WAIT_S, DirectoryInUseError, lock_directory
from wsdm_arena.runs.directories import recover_directories
from wsdm_arena.runs.files import (
    MANIFEST,
    describe_file,
    find_damage,
    read_descriptions,
    replacing_file,
    write_atomically,
)

logger = logging.getLogger(__name__)

_WRITTEN = (
    "metrics.jsonl",
    "evaluations.jsonl",
    "predictions.parquet",
    "predictions_at_start.parquet",
    "complete.json",
)


class RunError(UserError, RuntimeError):
    """The run directory does not hold what it should, or holds another run."""


class RunDirectory:
    """Paths and files of one training."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "run.json"
        self.state = self.path / "state"
        self.model = self.path / "model"
        self.evaluated_models = self.path / "evaluations"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluations = self.path / "evaluations.jsonl"
        self.predictions = self.path / "predictions.parquet"
        self.predictions_at_start = self.path / "predictions_at_start.parquet"
        self.complete = self.path / "complete.json"

    def read_config(self) -> RunConfig:
        """Validate ``run.json``.

        Raises:
            RunError: It is missing or is not a run configuration of this version.
        """
        try:
            config = RunConfig.model_validate_json(self.config_file.read_text())
        except FileNotFoundError:
            raise RunError(f"{self.config_file} is missing; a run directory holds the run's configuration") from None
        except ValidationError as error:
            raise RunError(f"{self.config_file} is not a run configuration of this version: {error}") from None
        expected = RunConfig.model_fields["format"].default
        if config.format != expected:
            raise RunError(
                f"{self.config_file} has format {config.format}, this version reads {expected}; start a new run"
            )
        return config

    @contextmanager
    def lock(self, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """Keep other trainings out of this directory, see :func:`~wsdm_arena.processes.lock.lock_directory`.

        Raises:
            RunError: Another process has held the lock for ``wait_s`` seconds.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(lock_directory(self.path, wait_s))
            except DirectoryInUseError as error:
                raise RunError(str(error)) from None
            yield

    def remove_leftovers(self) -> None:
        """Delete what a killed process was writing under a temporary name; give back what it was about to replace."""
        for folder, pattern in ((self.path, self.model.name), (self.evaluated_models, "update-*")):
            recover_directories(folder, pattern)
        for name in _WRITTEN:
            for path in self.path.glob(f".{name}.*"):
                path.unlink()

    def is_complete(self, config: RunConfig) -> bool:
        """Whether this very run has ended well.

        Raises:
            RunError: Another run has ended here.
        """
        if not self.complete.is_file():
            return False
        require_same_run(json.loads(self.complete.read_text()).get("fingerprint"), config, self.complete)
        shutil.rmtree(self.state, ignore_errors=True)  # the process may have been killed just before it did so
        return True

    def verify_complete(self, config: RunConfig) -> None:
        """Make sure that a finished run is this one and that what it left is still there as it was written.

        Every file is hashed: this is only asked where something has changed, and a damaged judge would be handed on.

        Raises:
            RunError: Something is missing, damaged or of another run; names the file and the cure.
        """
        cure = f"delete {self.path} to train it again"
        try:
            content = json.loads(self.complete.read_text())
            fingerprint, files = content["fingerprint"], read_descriptions(content["files"])
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{self.complete} is damaged; {cure}") from None
        require_same_run(fingerprint, config, self.complete)
        if damage := find_damage(self.path, files):
            raise RunError(f"{damage}; {cure}")

    def write_complete(self, config: RunConfig, metrics: Mapping[str, Any], *, world_size: int) -> None:
        """Declare the run finished: its metrics, and size and SHA-256 of every file it leaves.

        The model's files were hashed when its manifest was written; they are not read once more.
        """
        known = {f"{self.model.name}/{name}": file for name, file in _read_manifest_files(self.model).items()}
        left = [self.metrics, self.evaluations, self.predictions, self.predictions_at_start, *_files_under(self.model)]
        names = {file.relative_to(self.path).as_posix(): file for file in left if file.is_file()}
        files = {name: known.get(name) or describe_file(file) for name, file in names.items()}
        content = {
            "fingerprint": config.fingerprint,
            "metrics": dict(metrics),
            "world_size": world_size,
            "files": files,
        }
        write_atomically(self.complete, json.dumps(content, indent=2).encode())

    def write_table(self, path: Path, table: pd.DataFrame) -> None:
        """Write a parquet table that is whole or absent."""
        with replacing_file(path) as temporary:
            table.to_parquet(temporary, index=False)


class JsonLines:
    """A file of one JSON object a line, each with the update it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def cut_back(self, num_updates: int) -> None:
        """Keep what belongs to the first ``num_updates`` updates: the rest will be written again."""
        if not self.path.is_file():
            return
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _update(line) <= num_updates]
        write_atomically(self.path, "".join(f"{line}\n" for line in kept).encode())


def require_same_run(fingerprint: str | None, config: RunConfig, file: Path) -> None:
    """Refuse what another run left.

    Raises:
        RunError: The fingerprint is not that of ``config``.
    """
    if fingerprint != config.fingerprint:
        raise RunError(
            f"{file} belongs to run {fingerprint}, but run.json describes run {config.fingerprint}; "
            "use a directory of its own for each run, or delete what the other run left"
        )


def _read_manifest_files(directory: Path) -> dict[str, dict[str, Any]]:
    """What a directory's manifest says of its files.

    Raises:
        RunError: It is damaged, or a file has another size than it says.
    """
    try:
        files = read_descriptions(json.loads((directory / MANIFEST).read_text())["files"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{directory / MANIFEST} is damaged: {error!r}") from error
    if damage := find_damage(directory, files, max_hashed_bytes=0):
        raise RunError(f"{damage}; delete {directory} to write it again")
    return files


def _files_under(directory: Path) -> Iterable[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _update(line: str) -> float:
    try:
        return json.loads(line)["update"]
    except (ValueError, KeyError, TypeError):  # the process was killed in the middle of this line
        return float("inf")
