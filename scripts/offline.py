"""Pack all that it takes to judge without network into one folder, for the notebook of the offline competition.

    .venv/bin/python scripts/offline.py --output data/offline

The folder holds::

    wheels/             this package, and the small packages that a contest's machine may lack
    requirements.txt    what judging imports, measured, with the versions that this package asks for
    bundles/<judge>/    the two judges of the cascade, as the run exported them
    cascade.json        order of the judges, weights, threshold
    03_offline_competition.ipynb

Nothing of Kedro is needed where it goes.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

from kedro.framework.startup import bootstrap_project
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from wsdm_arena.cli.project import open_project
from wsdm_arena.runs.directories import link_tree, replacing_directory

logger = logging.getLogger("offline")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "03_offline_competition.ipynb"

FOR_LANGUAGES = ("langcodes", "language-data", "marisa-trie")
"""What reads the names of languages, where a table has such a column."""

SMALL = (*FOR_LANGUAGES, "pandera", "typeguard", "typing-inspect", "mypy-extensions")
"""What machines with torch and transformers may lack. Those that judging imports are packed beside our wheel."""

IMPORTS = (
    "wsdm_arena.judging.judge",
    "wsdm_arena.judging.cascade",
    "wsdm_arena.judging.submission",
    "wsdm_arena.preferences.test_pairs",
)
"""What the notebook imports of this package."""

_LIST_IMPORTED = """
import importlib, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kedro", "kedro_datasets", "kedro_viz"):
            raise ImportError(name + " is not to be imported where people judge")

sys.meta_path.insert(0, Absent())
wheel, bundles, modules = json.loads(sys.argv[1])
sys.path.insert(0, wheel)
for module in modules:
    importlib.import_module(module)
assert sys.modules["wsdm_arena"].__file__.startswith(wheel)
from wsdm_arena.judging.exported import open_bundles
for judge in open_bundles(bundles):
    judge.tokenize(["0" * 32], [("a prompt", "an answer", "another")])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", help="environment of the run, a folder of conf/ (default: sample)")
    parser.add_argument("--data-root", help="where the run keeps its data (default: where its environment does)")
    parser.add_argument("--stage", choices=("final", "student"), default="final", help="whose cascade (default: final)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "data" / "offline", help="folder to make; replaced if it is there"
    )
    parser.add_argument(
        "--python-version",
        default=".".join(map(str, sys.version_info[:2])),
        help="Python of the machine without network, for the small wheels (default: this one's, %(default)s)",
    )
    parser.add_argument(
        "--no-download", action="store_true", help="leave the small wheels out, and ask no package index"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("kedro").setLevel("WARNING")
    cascade, bundles = find_judges(options.env, options.data_root, options.stage)
    with replacing_directory(options.output.absolute()) as folder:
        pack(folder, cascade, bundles, None if options.no_download else options.python_version)
    size = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file())
    logger.info("%s: %.1f MB, ready to be uploaded", options.output, size / 1e6)


def find_judges(env: str | None, data_root: str | None, stage: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """The cascade of a run and its bundles, from the catalog."""
    bootstrap_project(ROOT)
    with open_project(env, {"data_root": data_root} if data_root else {}) as project:
        name = f"submission.{stage}.cascade"
        if name not in project.catalog or not project.catalog.exists(name):
            cure = "`kedro run` makes it, where students are trained"
            sys.exit(f"offline: there is no {name} in {project.data_root}; {cure}")
        cascade = project.catalog.load(name)
        config = getattr(project.config.submission, stage)
        bundles = {judge: project.catalog.load(f"{stage}.{judge}.bundle") for judge in cascade["judges"]}
    kept = {key: cascade[key] for key in ("judges", "weights", "threshold")}
    return {"stage": stage, **kept, "max_prompt_characters": config.max_prompt_characters}, bundles


def pack(folder: Path, cascade: dict[str, Any], bundles: dict[str, Path], python_version: str | None) -> None:
    """Fill the folder.

    Args:
        folder: Empty.
        cascade: As ``cascade.json`` is to hold it.
        bundles: By judge.
        python_version: For which the small wheels are downloaded; None: not at all.
    """
    wheel = build_wheel(folder / "wheels")
    requirements = measure_requirements(wheel, list(bundles.values()))
    (folder / "requirements.txt").write_text("\n".join(map(str, requirements)) + "\n")
    if python_version is not None:
        names = [each.name for each in requirements if canonicalize_name(each.name) in SMALL]
        download_wheels(names, folder / "wheels", python_version)
    for judge, path in bundles.items():
        (folder / "bundles" / judge).mkdir(parents=True)
        link_tree(path, folder / "bundles" / judge)
    (folder / "cascade.json").write_text(json.dumps(cascade, indent=2) + "\n")
    shutil.copy(NOTEBOOK, folder)


def build_wheel(folder: Path) -> Path:
    """Build this package's wheel from a copy of its sources, as setuptools keeps removed files in ``build/``."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / "src", Path(copy, "src"), ignore=ignored)
        _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), copy)
    (wheel,) = folder.glob("wsdm_arena-*.whl")
    return wheel


def measure_requirements(wheel: Path, bundles: list[Path]) -> list[Requirement]:
    """Import what judging imports, out of the wheel and without Kedro, and name the packages that took part.

    Returns:
        Those that this package asks for, with its versions, and those of :data:`SMALL`; by name.
    """
    arguments = json.dumps([str(wheel), [str(path) for path in bundles], IMPORTS])
    done = subprocess.run(
        [sys.executable, "-c", _LIST_IMPORTED, arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    packages = metadata.packages_distributions()
    imported = {
        canonicalize_name(name)
        for module in json.loads(done.stdout.splitlines()[-1])
        for name in packages.get(module, ())
    }
    described = zipfile.Path(wheel, f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/")
    found: dict[str, Requirement] = {
        name: Requirement(name) for name in SMALL if name in imported or name in FOR_LANGUAGES
    }
    for text in metadata.PathDistribution(described).requires or []:
        asked = Requirement(text)
        if asked.marker is None and canonicalize_name(asked.name) in imported:
            found[canonicalize_name(asked.name)] = Requirement(f"{asked.name}{asked.specifier}")
    return [found[name] for name in sorted(found)]


def download_wheels(names: list[str], folder: Path, python_version: str) -> None:
    """Download wheels for Linux; who cannot, goes on without."""
    target = ["--only-binary", ":all:", "--no-deps", "--python-version", python_version]
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 28)] + ["--platform=manylinux2014_x86_64"]
    try:
        _pip("download", *target, *platforms, "--dest", str(folder), *names)
    except subprocess.CalledProcessError:
        logger.warning("the wheels of %s could not be downloaded and are left out", ", ".join(names))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
