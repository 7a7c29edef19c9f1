"""Where a backbone's files come from: a directory, or a repository of the hub."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from wsdm_arena.errors import UserError
from wsdm_arena.modeling.checkpoint import TOKENIZER_FILES
from wsdm_arena.modeling.weight_files import find_weight_files
from wsdm_arena.runs.files import describe_file

logger = logging.getLogger(__name__)

CONFIG = "config.json"
HUB_FILES = ("model*.safetensors", "model*.safetensors.index.json", CONFIG, *TOKENIZER_FILES)
"""What is downloaded: no pickles, no code, no second copy of the weights in another format."""
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""Each of them makes a tokenizer; the other files of a tokenizer only say how it is used."""
_ELSEWHERE = (
    "put it there, or name another directory or hub repository in judges.<judge>.backbone.source; without a source the "
    "checkpoint is looked for in 01_raw/checkpoints/<judge>"
)


class BackboneError(UserError, RuntimeError):
    """A backbone cannot be found, or is not what its configuration says."""


@dataclass(frozen=True)
class BackboneSource:
    """The files of a backbone, wherever they come from.

    Attributes:
        directory: Where they lie.
        revision: Commit of the hub's repository; None for a directory of one's own.
        weights: Files of weights, and their index if there is one.
        tokenizer: Files of the tokenizer.
    """

    directory: Path
    revision: str | None
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that the backbone depends on."""
        return (self.directory / CONFIG, *self.weights, *self.tokenizer)

    def describe(self, known: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Size, SHA-256 and time of each file, by name.

        Args:
            known: What was found out about files before, by full path; a file of the same size and time is not read
                once more.
        """
        described = {}
        for path in self.files:
            place, status = path.resolve(), path.stat()
            seen = known.get(str(place))
            if seen is not None and (seen["size"], seen["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
                described[path.name] = dict(seen)
            else:
                described[path.name] = describe_file(path) | {"path": str(place), "mtime_ns": status.st_mtime_ns}
        return described


def find_source(source: str | Path, *, revision: str | None = None) -> BackboneSource:
    """Find a backbone's files, and download them if they are named after a hub's repository.

    Args:
        source: An existing directory, or ``owner/repository``.
        revision: Commit, tag or branch of the repository.

    Raises:
        BackboneError: There is no such directory or repository, it is gated, or weights, configuration or tokenizer
            are missing; the message says what helps.
        WeightFileError: It is not clear which files hold the weights.
    """
    directory, commit = Path(source), None
    if not directory.is_dir():
        if isinstance(source, Path) or not _HUB_NAME.fullmatch(source):
            raise BackboneError(f"there is no checkpoint at {source}: {_ELSEWHERE}")
        directory = _download(source, revision)
        commit = directory.name
    if not (directory / CONFIG).is_file():
        raise BackboneError(f"{directory} has no {CONFIG}: copy it there from the model that the weights belong to")
    tokenizer = tuple(directory / name for name in TOKENIZER_FILES if (directory / name).is_file())
    if not any(path.name in _TOKENIZERS for path in tokenizer):
        raise BackboneError(
            f"{directory} has no tokenizer (none of {', '.join(_TOKENIZERS)}): copy it there from the model that the "
            "weights belong to"
        )
    return BackboneSource(directory, commit, tuple(find_weight_files(directory)), tokenizer)


def known_files(manifests: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """What earlier imports found out about source files, by full path; damaged manifests know nothing."""
    known: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        try:
            described = json.loads(manifest.read_text())["source_files"].values()
            known |= {file["path"]: file for file in described if {"size", "sha256", "mtime_ns"} <= set(file)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return known


def _download(name: str, revision: str | None) -> Path:
    at = f"{name} at revision {revision}" if revision else name
    logger.info("backbone %s: looking it up on the hub", at)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES)))
    except GatedRepoError as error:
        cure = (
            f"it is gated: accept its licence at https://huggingface.co/{name}, then log in with `hf auth login`, or "
            "download it by hand and set judges.<judge>.backbone.source to the directory"
        )
        raise BackboneError(f"{at} cannot be downloaded, {cure}") from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise BackboneError(
            f"there is neither a directory {name} nor a hub repository {at} that you may see; correct "
            "judges.<judge>.backbone.source and revision, or log in with `hf auth login`"
        ) from error
    except OSError as error:  # no network, offline mode and nothing in the cache, no room
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(
            f"{at} is no directory, and cannot be downloaded ({reason}); without network, set "
            "judges.<judge>.backbone.source to a directory that holds its config.json, safetensors and tokenizer"
        ) from error
