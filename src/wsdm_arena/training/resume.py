"""The resume state: everything from which a killed training goes on as if nothing had happened.

``state/update-000123/`` holds the sharded tensors (torch.distributed.checkpoint, all ranks write), the generators'
state of each rank, and ``manifest.json`` with position, run and checksums. It is written under a ``.partial`` name,
made permanent, and renamed; only then is its predecessor deleted. Whatever fails its checks is ignored.
"""

import json
import logging
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException

from wsdm_arena.config import RunConfig
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.runs.directories import replace_directory
from wsdm_arena.runs.files import MANIFEST, describe_file, find_damage, read_descriptions, write_atomically
from wsdm_arena.training.run import RunError, require_same_run

logger = logging.getLogger(__name__)

_FORMAT = 1
_PARTIAL = ".partial"
_FULL_BYTES = 16 << 20
"""A disk with less free space is called full: a write that has failed leaves the last piece that fitted in."""
_READERS = 8
"""Files that are verified at the same time; a large state is hundreds of gigabytes."""


@dataclass(frozen=True)
class ResumePoint:
    """A resume state that has passed its checks."""

    path: Path
    num_updates: int
    planner: dict[str, Any]
    progress: dict[str, Any]


class ResumeStates:
    """The resume states of one run.

    Args:
        directory: ``<run_dir>/state``.
        config: Of the run; a state of another run is refused.
        context: This process among the others.
    """

    def __init__(self, directory: Path, config: RunConfig, context: DistributedContext) -> None:
        self._directory = directory
        self._config = config
        self._context = context

    def save(
        self, tensors: dict[str, Tensor], *, num_updates: int, planner: dict[str, Any], progress: dict[str, Any]
    ) -> None:
        """Write the state after ``num_updates`` updates, then delete older ones. A collective.

        Args:
            tensors: Weights and optimizer state; distributed tensors are written by all ranks, each its shard.
            num_updates: Updates done.
            planner: Position of the planner, as JSON.
            progress: Anything else that must survive, as JSON.

        Raises:
            RunError: The disk is full; the state before is still there.
        """
        final = self._directory / f"update-{num_updates:06d}"
        partial = final.with_name(final.name + _PARTIAL)
        if self._context.is_main:
            for leftover in self._directory.glob(f"*{_PARTIAL}"):  # of a process that was killed or met a full disk
                shutil.rmtree(leftover, ignore_errors=True)
            partial.mkdir(parents=True)
        self._context.barrier()
        try:
            dcp.save(tensors, checkpoint_id=str(partial))
        except CheckpointException as error:  # no Exception, and torch's own words for a full disk do not tell
            self._require_space(error)
            raise
        rank = self._context.rank
        write_atomically(partial / f"generators-{rank}.json", json.dumps(_generator_states()).encode())
        files = self._context.gather({path.name: describe_file(path) for path in _written_by(partial, rank)})
        if files is not None:
            manifest = {
                "format": _FORMAT,
                "fingerprint": self._config.fingerprint,
                "num_updates": num_updates,
                "world_size": self._context.world_size,
                "planner": planner,
                "progress": progress,
                "files": {name: description for part in files for name, description in part.items()},
            }
            write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2).encode())
            replace_directory(partial, final)
            self._delete_all_but(final)
        self._context.barrier()

    def find(self) -> ResumePoint | None:
        """Newest state that is whole; None to start from the beginning. A collective: rank 0 decides.

        Raises:
            RunError: The newest whole state belongs to another run.
        """
        found: ResumePoint | RunError | None = None
        if self._context.is_main:
            try:
                found = self._find()
            except RunError as error:  # every rank must learn of it, or the others wait for ever
                found = error
        found = self._context.broadcast(found)
        if isinstance(found, RunError):
            raise found
        return found

    def load(self, point: ResumePoint, tensors: dict[str, Tensor]) -> None:
        """Copy a state into ``tensors`` and the generators of this process. A collective.

        The number of ranks may differ from that of the run that wrote it. Generators of ranks that did not exist then
        keep the state they have.
        """
        dcp.load(tensors, checkpoint_id=str(point.path))
        generators = point.path / f"generators-{self._context.rank}.json"
        if generators.is_file():
            _restore_generators(json.loads(generators.read_text()))

    def delete(self) -> None:
        """Remove every state: the run no longer needs them."""
        if self._context.is_main:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _find(self) -> ResumePoint | None:
        if not self._directory.is_dir():
            return None
        for path in sorted(self._directory.glob("update-*"), key=_number_of_updates, reverse=True):
            if path.name.endswith(_PARTIAL):
                logger.warning("ignoring %s: the process was stopped while it was written", path)
                continue
            try:
                manifest = _verified_manifest(path)
            except (OSError, ValueError, KeyError) as error:
                logger.warning("ignoring damaged resume state %s: %s", path, error)
                continue
            require_same_run(manifest["fingerprint"], self._config, path)
            return ResumePoint(path, manifest["num_updates"], manifest["planner"], manifest["progress"])
        return None

    def _require_space(self, error: BaseException) -> None:
        """Say that it was for want of space that a state could not be written, if it was."""
        if shutil.disk_usage(self._directory).free < _FULL_BYTES:
            raise RunError(
                f"{self._directory}: the disk is full, so where the training stands could not be saved; make room and "
                "give the same command, which goes on after the last state that was"
            ) from error

    def _delete_all_but(self, kept: Path) -> None:
        for path in self._directory.iterdir():
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)


def _written_by(directory: Path, rank: int) -> list[Path]:
    """Files of one rank; what has no rank in its name was written by rank 0."""
    mine = [*directory.glob(f"__{rank}_*"), directory / f"generators-{rank}.json"]
    return [*mine, directory / ".metadata"] if rank == 0 else mine


def _number_of_updates(path: Path) -> int:
    digits = path.name.removeprefix("update-").removesuffix(_PARTIAL)
    return int(digits) if digits.isdigit() else -1


def _verified_manifest(path: Path) -> dict[str, Any]:
    manifest = json.loads((path / MANIFEST).read_text())
    if manifest["format"] != _FORMAT:
        raise ValueError(f"format {manifest['format']}, this version reads {_FORMAT}")
    files = read_descriptions(manifest["files"])
    with ThreadPoolExecutor(_READERS) as pool:
        for damage in pool.map(lambda name: find_damage(path, {name: files[name]}), files):
            if damage is not None:
                raise ValueError(damage)
    return manifest


def _generator_states() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  third parties use the global one
    states = {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state().numpy().tobytes().hex()
    return states


def _restore_generators(states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(_byte_tensor(states["torch"]))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(_byte_tensor(states["cuda"]))


def _byte_tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
