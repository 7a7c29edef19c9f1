"""Downloads from Hugging Face, through its client ``huggingface_hub``.

The client finds out what there is, and sends the requests. What it leaves of a download that was killed it would not
take up again (since 1.31 it deletes it), so large files are streamed into a file that stays, with the client's
``http_get``, and get their names once their SHA-256 is what the hub announces.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsdm_arena.fetching.errors import DISK_ERRORS, FetchError, InterruptedDownloadError
from wsdm_arena.fetching.inputs import Input
from wsdm_arena.fetching.tokens import HUGGING_FACE_CURE, describe_missing_token, has_hugging_face_token
from wsdm_arena.fetching.watching import bytes_in, watch_download
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.files import write_atomically

MAX_STREAMED_BYTES = 50_000_000_000
"""The hub sends no larger file by plain HTTP; its client fetches those in pieces, from the start each time."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at the hub: its size, its SHA-256 if the hub says so, and what the hub's cache calls it."""

    name: str
    size: int
    sha256: str | None
    blob: str


@dataclass(frozen=True)
class Listing:
    """A repository at one commit, as far as it is wanted."""

    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)


def download_dataset(
    item: Input, revision: str | None, staging: Path, digests: DigestCache
) -> tuple[dict[str, Path], str]:
    """Download a dataset's files to a folder.

    Args:
        item: What to download.
        revision: Commit; None: the newest.
        staging: Folder for it; what an interrupted download left there is used.
        digests: Remembers the hashes of what came.

    Returns:
        Where the files lie within ``staging``, by name at the hub; the commit.

    Raises:
        FetchError: The hub refuses, does not know it, or sends something else than it announces; no room.
        InterruptedDownloadError: The connection broke; what came is kept.
    """
    with _errors_told(item):
        listing = _list_files(item, "dataset", revision)
        folder = staging / listing.commit
        _require_room(item, listing.size - bytes_in(folder), folder)
        with watch_download(item.name, folder, listing.size):
            for file in listing.files:
                _stream(item, "dataset", listing.commit, file, folder / file.name, digests)
    return {file.name: folder / file.name for file in listing.files}, listing.commit


def download_model(item: Input, revision: str | None, digests: DigestCache) -> tuple[dict[str, Path], str]:
    """Download a model into the hub's cache on this machine, where its readers find it by its name.

    Args:
        item: What to download.
        revision: Commit; None: the newest. The cache calls it ``main`` then, or where a reader names no revision.
        digests: Remembers the hashes of what came.

    Returns:
        Where the files lie, by name; the commit.

    Raises:
        FetchError: As :func:`download_dataset`.
        InterruptedDownloadError: As :func:`download_dataset`.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.file_download import repo_folder_name

    storage = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=str(item.handle), repo_type="model")
    with _errors_told(item):
        listing = _list_files(item, "model", revision)
        large = [file for file in listing.files if file.sha256 is not None and file.size <= MAX_STREAMED_BYTES]
        _require_room(item, listing.size - bytes_in(storage / "blobs"), storage)
        names = [file.name for file in listing.files]
        with watch_download(item.name, storage / "blobs", listing.size):
            for file in large:
                _stream(item, "model", listing.commit, file, storage / "blobs" / file.blob, digests)
            folder = Path(snapshot_download(str(item.handle), revision=listing.commit, allow_patterns=names))
        if revision is None or item.is_main:
            write_atomically(storage / "refs" / "main", listing.commit.encode())
    return {name: folder / name for name in names}, listing.commit


def _list_files(item: Input, kind: str, revision: str | None) -> Listing:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import filter_repo_objects

    api = HfApi()
    commit = api.repo_info(str(item.handle), repo_type=kind, revision=revision).sha
    tree = api.list_repo_tree(str(item.handle), recursive=True, revision=commit, repo_type=kind)
    at_hub = {file.path: file for file in tree if isinstance(file, RepoFile)}
    if lacking := [name for name in item.files if name not in at_hub]:
        raise FetchError(
            f"{item.name}: {item.handle} has no file {lacking[0]} at {commit}; correct its entry in sources.yml"
        )
    wanted = item.files or list(filter_repo_objects(at_hub, allow_patterns=list(item.patterns)))
    if item.is_model and not any(name.endswith(".safetensors") for name in wanted):
        raise FetchError(f"{item.name}: {item.handle} has no weights model*.safetensors at {commit}")
    files = []
    for name in wanted:
        found = at_hub[name]
        sha256 = found.lfs.sha256 if found.lfs is not None else None
        files.append(RemoteFile(name, found.size, sha256, sha256 or found.blob_id))
    return Listing(str(commit), tuple(files))


def _stream(item: Input, kind: str, commit: str, file: RemoteFile, target: Path, digests: DigestCache) -> None:
    """Download a file, or the rest of it, to ``<target>.incomplete``; it gets its name if it is what it should be."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if target.is_file():
        if file.sha256 in (None, digests.sha256(target)):
            return
        target.unlink()
    part = target.with_name(f"{target.name}.incomplete")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as stream:
        if stream.tell() > file.size:
            stream.truncate(0)
        url = hf_hub_url(str(item.handle), file.name, repo_type=kind, revision=commit)
        http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.name,
        )
    if file.sha256 is not None and (got := digests.sha256(part)) != file.sha256:
        part.unlink()
        raise FetchError(
            f"{item.name}: {file.name} came with SHA-256 {got}, but the hub announces {file.sha256}; it was removed, "
            "the same command fetches it again"
        )
    os.replace(part, target)


def _require_room(item: Input, size: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise FetchError(
            f"{item.name}: {folder} has {free / 1e9:,.1f} GB free, and {size / 1e9:,.1f} GB are to come; make room, or "
            f"put {'HF_HOME' if item.is_model else 'data_home'} on another disk"
        )


@contextlib.contextmanager
def _errors_told(item: Input) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    network_errors = (OSError, HfHubHTTPError.__mro__[1])  # the second: whatever the client's HTTP library raises
    try:
        yield
    except FetchError:
        raise
    except GatedRepoError as error:
        raise FetchError(f"{item.name}: {_describe_gate(item)}") from error
    except RevisionNotFoundError as error:
        raise FetchError(
            f"{item.name}: {item.handle} has no revision {item.revision}; correct it in sources.yml or, of a model, in "
            "the parameters"
        ) from error
    except RepositoryNotFoundError as error:
        token = "" if has_hugging_face_token() else f", or it is private and there is no token: {HUGGING_FACE_CURE}"
        raise FetchError(f"{item.name}: there is no {item.handle} at Hugging Face that you may see{token}") from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise FetchError(f"{item.name}: {_describe_gate(item)}") from error
        raise InterruptedDownloadError(
            f"{item.name}: Hugging Face answers {error.response.status_code}; give the same command again later"
        ) from error
    except network_errors as error:  # type: ignore[misc]
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
        raise InterruptedDownloadError(
            f"{item.name}: Hugging Face cannot be reached or the connection broke ({reason}); the same command goes on "
            "where it stopped"
        ) from error


def _describe_gate(item: Input) -> str:
    token = describe_missing_token(item) or ("" if has_hugging_face_token() else f"no token: {HUGGING_FACE_CURE}")
    accept = f"accept the licence ({item.licence.name}) at {item.licence.url} with the account that the token is of"
    return f"Hugging Face refuses {item.handle}: {accept}" + (f". {token[0].upper()}{token[1:]}" if token else "")
