"""Where a bundle lies. Needs no torch, so a wrong path is refused before anything is loaded."""

from collections.abc import Iterable
from pathlib import Path

from wsdm_arena.errors import UserError
from wsdm_arena.runs.files import MANIFEST


class BundleError(UserError, RuntimeError):
    """A bundle is not there, half written, damaged, or something else."""


def newest_version(path: Path) -> Path:
    """What Kedro keeps as ``<path>/<version>/<name>``; any other path as it is."""
    if (path / MANIFEST).exists():
        return path
    return max((file.parent for file in path.glob(f"*/{path.name}/{MANIFEST}")), default=path)


def require_bundles(paths: Iterable[str | Path]) -> None:
    """Make sure that there are bundles at all; what is in them is looked at when they are opened.

    Raises:
        BundleError: A path is not there, or holds no manifest.
    """
    for path in map(Path, paths):
        if not path.exists():
            raise BundleError(f"there is no bundle {path}; name a directory that an export or train wrote")
        if not (newest_version(path) / MANIFEST).is_file():
            raise BundleError(
                f"{path} is no complete bundle: it has no {MANIFEST}; name a directory that an export or train wrote"
            )
