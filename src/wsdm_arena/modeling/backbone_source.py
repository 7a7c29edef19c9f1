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
from wsdm_arena.modeling.checkpoint import BUNDLE_KIND, TOKENIZER_FILES
from wsdm_arena.modeling.checkpoint import FORMAT as JUDGE_FORMAT
from wsdm_arena.modeling.checkpoint import KIND as JUDGE_KIND
from wsdm_arena.modeling.manifest import ManifestError, read_manifest
from wsdm_arena.modeling.packaged_files import KIND as PACKAGED_KIND
from wsdm_arena.modeling.weight_files import find_weight_files
from wsdm_arena.runs.files import describe_file
from wsdm_arena.runs.formats import BACKBONE_FORMAT, BUNDLE_FORMAT, PACKAGED_MODEL_FORMAT

logger = logging.getLogger(__name__)

KIND = "wsdm_arena backbone"
CONFIG = "config.json"
HUB_FILES = ("model*.safetensors", "model*.safetensors.index.json", CONFIG, *TOKENIZER_FILES)
"""What is downloaded: no pickles, no code, no second copy of the weights in another format."""
KnownFiles = dict[tuple[Any, ...], str]
"""SHA-256 by identity."""
_IDENTITY = ("path", "device", "inode", "size", "mtime_ns", "ctime_ns")
_BLOB = re.compile("[0-9a-f]{64}")
"""How the hub's cache names large files: by their SHA-256."""
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

    def describe(self, known: "KnownFiles") -> dict[str, dict[str, Any]]:
        """Size, SHA-256 and identity of each file, by name.

        Args:
            known: What was found out about files before; a file that is still the same is not read once more.
        """
        described = {}
        for path in self.files:
            identity = _identify(path)
            sha256 = known.get(tuple(identity.values())) or describe_file(path)["sha256"]
            described[path.name] = {"sha256": sha256, **identity}
        return described

    def require_unchanged(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Make sure that what was read in the meantime is what was described.

        Args:
            files: As :meth:`describe` said.

        Raises:
            BackboneError: Somebody has written to a file, which is named.
        """
        for path in self.files:
            if files[path.name] != {"sha256": files[path.name]["sha256"], **_identify(path)}:
                raise BackboneError(f"{path} was changed while it was imported; import it again when it is complete")

    def find_immutable(self, files: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
        """Names of the files that nobody writes to any more, so that they may be linked.

        These are what the hub's cache names after its contents, and what a manifest of ours vouches for.

        Args:
            files: As :meth:`describe` says.
        """
        ours = _read_own_files(self.directory)
        return frozenset(
            name for name, file in files.items() if file["sha256"] in (Path(file["path"]).name, ours.get(name))
        )


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


def known_files(manifests: Sequence[Path]) -> KnownFiles:
    """What earlier imports found out about source files; damaged manifests know nothing."""
    known: KnownFiles = {}
    for manifest in manifests:
        try:
            described = json.loads(manifest.read_text())["source_files"].values()
            known |= {tuple(file[key] for key in _IDENTITY): str(file["sha256"]) for file in described}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return known


def _identify(path: Path) -> dict[str, Any]:
    """What changes when a file does, whatever size and time it is given afterwards.

    A link that is made of a file changes its ``ctime``, too. Where that happens, contents are fixed: it does not count.
    """
    place, status = path.resolve(), path.stat()
    is_immutable = bool(_BLOB.fullmatch(place.name)) or path.name in _read_own_files(path.parent)
    ctime_ns = 0 if is_immutable else status.st_ctime_ns
    values = (str(place), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, ctime_ns)
    return dict(zip(_IDENTITY, values, strict=True))


def _read_own_files(directory: Path) -> dict[str, str]:
    """SHA-256 of the files that a directory of ours says it holds; nothing of other directories."""
    formats = {
        KIND: BACKBONE_FORMAT,
        JUDGE_KIND: JUDGE_FORMAT,
        BUNDLE_KIND: BUNDLE_FORMAT,
        PACKAGED_KIND: PACKAGED_MODEL_FORMAT,
    }
    try:
        manifest = read_manifest(directory, formats=formats, what="directory of ours", cure="")
    except (ManifestError, OSError):
        return {}
    return {name: file["sha256"] for name, file in manifest["files"].items()}


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
