"""``python -m wsdm_arena``: what it loads, what it says, and that a killed command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import wsdm_arena.__main__ as package_main
from tests.judging.tiny_bundles import make_bundle, plain_pairs
from wsdm_arena.cli.judge import judge
from wsdm_arena.judging.files import judging as file_judging
from wsdm_arena.judging.files.report import FileSummary

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"), "llama")


@pytest.fixture
def pairs(tmp_path) -> Path:
    plain_pairs(12).to_csv(tmp_path / "pairs.csv", index=False)
    return tmp_path / "pairs.csv"


def run_without(blocked: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m wsdm_arena`` in an interpreter that cannot import a package."""
    source = (
        f"import sys, runpy; sys.modules[{blocked!r}] = None; sys.argv[0] = '__main__.py'; "
        "runpy.run_module('wsdm_arena', run_name='__main__', alter_sys=False)"
    )
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)


def test_judge_needs_no_kedro(bundle, pairs, tmp_path):
    ran = run_without("kedro", "judge", "-b", str(bundle), str(pairs), "-o", str(tmp_path / "verdicts.csv"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("12 of 12 rows judged in ")
    assert len(ran.stdout.splitlines()) == 1
    assert len(pd.read_csv(tmp_path / "verdicts.csv")) == 12


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["judge", "--help"], ["judge"]])
def test_help_needs_no_torch(arguments):
    ran = run_without("torch", *arguments)
    assert "Usage: python -m wsdm_arena" in ran.stdout + ran.stderr
    assert "judge" in ran.stdout + ran.stderr


def test_a_file_that_cannot_be_judged_is_refused_without_torch(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "t.csv").write_text("prompt,answer_a,response_b\n1,2,3\n")
    ran = run_without("torch", "judge", "-b", str(tmp_path), str(tmp_path / "t.csv"), "-o", str(tmp_path / "v.csv"))
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: ")
    assert "no column 'response_a'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_nothing_at_all_shows_the_help(capsys):
    with pytest.raises(SystemExit):
        package_main.main([])
    printed = capsys.readouterr()
    assert "Commands:" in printed.out + printed.err


@pytest.mark.parametrize("arguments", [["--pipelines", "x"], ["-e", "base"], ["run", "--pipelines", "x"]])
def test_options_without_a_command_run_the_project(arguments, monkeypatch):
    called = []

    @click.command(name="run")
    @click.option("--pipelines")
    @click.option("--env", "-e")
    def run(**options: str) -> None:
        called.append({name: value for name, value in options.items() if value})

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(package_main, "_find_run_command", lambda: run)
    with pytest.raises(SystemExit) as ended:
        package_main.main(arguments)
    assert ended.value.code == 0
    assert called == [{"pipelines": "x"} if "x" in arguments else {"env": "base"}]


def test_the_run_command_is_kedros():
    assert package_main._find_run_command().name == "run"


def test_a_run_elsewhere_than_in_the_project_is_refused_in_a_line(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        package_main.main(["--pipelines", "x"])
    assert ended.value.code == 1
    assert "is not in the project" in capsys.readouterr().err


def test_an_unknown_command_is_refused():
    with pytest.raises(SystemExit) as ended:
        package_main.main(["jugde"])
    assert ended.value.code == 2


def call(*arguments: object):
    return CliRunner().invoke(judge, [str(argument) for argument in arguments])


def test_inputs_are_not_read_for_a_bundle_that_is_not_there(pairs, tmp_path):
    pairs.write_text("broken")
    ran = run_without("torch", "judge", "-b", "nowhere", str(pairs), "-o", str(tmp_path / "v.csv"))
    assert ran.stderr == ("Error: there is no bundle nowhere; name a directory that an export or train wrote\n")


def test_rows_a_second_are_those_of_reading(tmp_path):
    summary = FileSummary(tmp_path, tmp_path, 100, {}, {}, {}, {}, {"gemma": 100, "llama": 20}, 60.0, 6.0)
    assert "100 of 100 rows judged in 60 s, 20 rows/s" in summary.to_line()


def test_ctrl_c_says_that_the_same_command_goes_on(bundle, pairs, tmp_path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(file_judging, "judge_files", interrupt)
    ended = call("-b", bundle, pairs, "-o", tmp_path / "v.csv")
    assert ended.exit_code == 130
    assert ended.output == "Stopped. The same command goes on where it was.\n"


def test_too_little_gpu_memory_is_a_message(bundle, pairs, tmp_path, monkeypatch):
    def overflow(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(file_judging, "judge_files", overflow)
    ended = call("-b", bundle, pairs, "-o", tmp_path / "v.csv")
    assert ended.exit_code == 1
    assert "lower --max-tokens-per-batch (now 8192)" in ended.output


def test_mistakes_take_one_message(bundle, pairs, tmp_path):
    for arguments, message in (
        (["-b", tmp_path / "nowhere", pairs, "-o", tmp_path / "v.csv"], "there is no bundle"),
        (["-b", tmp_path, pairs, "-o", tmp_path / "v.csv"], "is no complete bundle: it has no manifest.json"),
        (["-b", bundle, "--cascade", pairs, "-o", tmp_path / "v.csv"], "a cascade needs two bundles"),
        (["-b", bundle, "-w", "1", "-w", "2", pairs, "-o", tmp_path / "v.csv"], "2 weights for 1 judge;"),
        (["-b", bundle, "--device", "cuda:7", pairs, "-o", tmp_path / "v.csv"], "cuda:7"),
        (["-b", bundle, tmp_path / "absent.csv", "-o", tmp_path / "v.csv"], "no such file"),
    ):
        ended = call(*arguments)
        assert ended.exit_code == 1, ended.output
        assert ended.output.startswith("Error: ")
        assert message in ended.output
        assert not (tmp_path / "v.csv").exists()


def test_a_file_that_was_left_out_is_a_warning(bundle, pairs, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    ended = call("-b", bundle, pairs, tmp_path / "other.csv", "-o", tmp_path / "v.csv", "--orders", "ab")
    assert ended.exit_code == 0
    assert f"Warning: left out: {tmp_path / 'other.csv'}: no column 'prompt'" in ended.output
    assert pd.read_csv(tmp_path / "v.csv")["swap_gap"].isna().all()


@pytest.mark.slow
def test_a_command_that_was_killed_goes_on(bundle, tmp_path):
    many = pd.concat([plain_pairs(36)] * 12, ignore_index=True)
    many["response_b"] = [f"{text} {row}" for row, text in enumerate(many["response_b"])]
    many.to_csv(tmp_path / "pairs.csv", index=False)
    output = tmp_path / "verdicts.csv"
    command = ["judge", "-b", bundle, tmp_path / "pairs.csv", "-o", output, "--rows-per-part", "4"]
    started = subprocess.Popen(
        [sys.executable, "-m", "wsdm_arena", *map(str, command)], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE
    )
    parts = tmp_path / "verdicts.csv.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("0-*.npz"))) < 3 and time.monotonic() < deadline and started.poll() is None:
        time.sleep(0.005)
    started.send_signal(signal.SIGKILL)
    started.communicate()
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("0-*.npz")}
    assert 3 <= len(done) < 108
    assert not output.exists()
    read: list[str] = []
    original = file_judging.PartsDirectory.write

    def remember(directory, number, part, reading, *, is_complete):
        read.append(f"{number}-{part:06d}.npz")
        original(directory, number, part, reading, is_complete=is_complete)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(file_judging.PartsDirectory, "write", remember)
        ended = call(*command[1:])
    assert ended.exit_code == 0, ended.output
    assert sorted([*read, *done]) == [f"0-{part:06d}.npz" for part in range(108)]
    resumed = output.read_text()
    assert call(*command[1:]).exit_code == 0
    assert output.read_text() == resumed
