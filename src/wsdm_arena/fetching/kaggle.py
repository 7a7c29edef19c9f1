"""Downloads from Kaggle, through its client ``kagglehub``.

The client resumes a download that it finds in its cache, so it is given one beside the data. Its endpoint is chosen by
``KAGGLE_API_ENVIRONMENT``, among fixed ones.
"""

import contextlib
import logging
import os
import re
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from wsdm_arena.fetching.errors import FetchError, InterruptedDownloadError
from wsdm_arena.fetching.inputs import Input
from wsdm_arena.fetching.tokens import KAGGLE_CURE, describe_missing_kaggle_token
from wsdm_arena.fetching.watching import bytes_in, watch_download

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Times that a download is taken up again without a single byte of progress."""
PAUSE_S = 3.0
"""Between them."""
_VERSION = re.compile(r"/versions/(\d+)(/|$)")


def download_from_kaggle(item: Input, revision: str | None, staging: Path) -> tuple[dict[str, Path], str | None]:
    """Download a competition's files, a dataset's files, or a whole dataset, unpacked.

    Args:
        item: What to download.
        revision: A dataset's version; None: the newest.
        staging: Folder for it; what an interrupted download left there is used.

    Returns:
        Where the files lie within ``staging``, by name at Kaggle (of a whole dataset without a folder that all of them
        are in); the version, None of a competition.

    Raises:
        FetchError: Kaggle refuses or does not know it, or sends something else than it announces.
        InterruptedDownloadError: The connection broke several times; what came is kept.
    """
    if item.hub == "kaggle_competition" and (missing := describe_missing_kaggle_token()):
        raise FetchError(f"{item.name}: {missing}")
    files: dict[str, Path] = {}
    # Its archives are unpacked beside themselves, so that nobody knows how large the folder will be.
    with _cache_in(staging), _errors_told(item, staging), watch_download(item.name, staging, None):
        for name in item.files or (None,):
            path = _keep_trying(partial(_ask_client, item, revision, name), staging, item.name)
            if version := _VERSION.search(path.as_posix()):
                revision = version[1]  # the rest is taken from the same one
            files |= {name: path} if name else _relative_files(path)
    return files, revision


def _ask_client(item: Input, revision: str | None, name: str | None) -> Path:
    import kagglehub

    if item.hub == "kaggle_competition":
        return Path(kagglehub.competition_download(item.handle, path=name))
    handle = f"{item.handle}/versions/{revision}" if revision else str(item.handle)
    return Path(kagglehub.dataset_download(handle, path=name))


def _keep_trying(download: Callable[[], Path], staging: Path, name: str) -> Path:
    """The client itself gives up when the connection breaks, and resumes when it is asked again."""
    import requests

    attempt, had = 0, -1
    while True:
        try:
            return download()
        except requests.exceptions.HTTPError:
            raise
        except requests.exceptions.RequestException as error:
            have = bytes_in(staging)
            attempt = 1 if have > had else attempt + 1
            if attempt >= ATTEMPTS or not have:
                raise
            logger.warning("%s: %s after %s bytes; going on", name, type(error).__name__, f"{have:,}")
            had = max(have, had)
            time.sleep(PAUSE_S)


def _relative_files(folder: Path) -> dict[str, Path]:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    tops = {PurePosixPath(name).parts[0] for name in files}
    is_wrapped = len(tops) == 1 and all("/" in name for name in files)
    return {name.partition("/")[2]: path for name, path in files.items()} if is_wrapped else files


@contextlib.contextmanager
def _cache_in(staging: Path) -> Iterator[None]:
    """Have the client keep its files in a folder, and its messages off standard output."""
    before = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = str(staging)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if before is None:
            del os.environ["KAGGLEHUB_CACHE"]
        else:
            os.environ["KAGGLEHUB_CACHE"] = before


@contextlib.contextmanager
def _errors_told(item: Input, staging: Path) -> Iterator[None]:
    import requests
    from kagglehub.exceptions import DataCorruptionError, UnauthenticatedError

    try:
        yield
    except UnauthenticatedError as error:
        raise FetchError(f"{item.name}: no Kaggle token: {KAGGLE_CURE}") from error
    except requests.exceptions.HTTPError as error:
        raise _tell_status(item, error.response.status_code if error.response is not None else None) from error
    except requests.exceptions.RequestException as error:
        raise InterruptedDownloadError(
            f"{item.name}: Kaggle cannot be reached or the connection broke ({type(error).__name__}); the same command "
            "goes on where it stopped"
        ) from error
    except (DataCorruptionError, zipfile.BadZipFile, tarfile.TarError, ValueError) as error:  # the last: no archive
        shutil.rmtree(staging, ignore_errors=True)
        reason = (
            "its checksum is not the one announced" if isinstance(error, DataCorruptionError) else "no whole archive"
        )
        raise FetchError(
            f"{item.name}: what Kaggle sent is damaged ({reason}); it was removed, the same command fetches it again"
        ) from error


def _tell_status(item: Input, status: int | None) -> FetchError:
    if status in (401, 403):
        if missing := describe_missing_kaggle_token():
            return FetchError(f"{item.name}: Kaggle asks for a token. {missing}")
        terms = f"accept the {item.licence.name} at {item.licence.url} with the account that the token is of"
        return FetchError(f"{item.name}: Kaggle refuses {item.handle} ({status}): {terms}, or {KAGGLE_CURE}")
    if status == 404:
        return FetchError(
            f"{item.name}: Kaggle has no {item.handle} with {', '.join(item.files) or 'files'}"
            + (f" at version {item.revision}" if item.revision else "")
            + "; correct inputs in conf/local/sources.yml"
        )
    return InterruptedDownloadError(f"{item.name}: Kaggle answers {status}; give the same command again later")
