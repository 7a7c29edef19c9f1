import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from tests.training.tiny_runs import TinyRuns, finish
from wsdm_arena.config import RunConfig
from wsdm_arena.runs.files import describe_file
from wsdm_arena.training import __main__
from wsdm_arena.training import run as training_run
from wsdm_arena.training.__main__ import main
from wsdm_arena.training.run import JsonLines, RunDirectory, RunError


def test_cutting_back_drops_later_updates_and_a_half_written_line(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    for update in (1, 2, 3):
        lines.append({"update": update, "loss": 0.5})
    with lines.path.open("a") as file:
        file.write('{"update": 4, "lo')
    lines.cut_back(2)
    assert [json.loads(line)["update"] for line in lines.path.read_text().splitlines()] == [1, 2]


def test_cutting_back_a_missing_file_is_nothing(tmp_path: Path) -> None:
    JsonLines(tmp_path / "metrics.jsonl").cut_back(2)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_directory_without_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json is missing"):
        RunDirectory(tmp_path).read_config()


def test_a_misspelt_key_is_named(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    config = json.loads((tiny_runs.make("misspelt") / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(config | {"sead": 1}))
    with pytest.raises(RunError, match="sead"):
        RunDirectory(tmp_path).read_config()


def test_another_format_is_refused(tiny_runs: TinyRuns) -> None:
    run = tiny_runs.make("format", format=99)
    with pytest.raises(RunError, match=r"run\.json has format 99, this version reads 2; start a new run"):
        RunDirectory(run).read_config()


def test_a_users_mistake_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(tmp_path)]) == 1
    assert [record.message.splitlines() for record in caplog.records] == [
        [f"{tmp_path}/run.json is missing; a run directory holds the run's configuration"]
    ]


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tiny_runs: TinyRuns) -> None:
    run = tiny_runs.make("leftovers")
    (run / ".model.123.partial").mkdir()
    (run / ".predictions.parquet.123").write_bytes(b"half")
    (run / "evaluations/.update-000004.123.partial").mkdir(parents=True)
    (run / ".lock").touch()
    finish(run)
    assert {path.name for path in run.rglob(".*")} == {".lock"}


def test_a_judge_that_was_about_to_be_replaced_is_given_back(tmp_path: Path) -> None:
    (tmp_path / ".model.123.old").mkdir()
    (tmp_path / ".model.123.partial").mkdir()
    (tmp_path / "evaluations/.update-000004.123.old").mkdir(parents=True)
    RunDirectory(tmp_path).remove_leftovers()
    assert {path.name for path in tmp_path.iterdir()} == {"model", "evaluations"}
    assert [path.name for path in (tmp_path / "evaluations").iterdir()] == ["update-000004"]


def test_a_finished_run_of_another_configuration_is_refused_by_name(tiny_runs: TinyRuns) -> None:
    run = RunDirectory(tiny_runs.make("finished"))
    config = run.read_config()
    run.write_complete(config, {"accuracy": 0.5}, world_size=1)
    assert run.is_complete(config)
    other = RunConfig.model_validate(config.model_dump() | {"fingerprint": "another"})
    with pytest.raises(RunError, match=r"complete\.json belongs to run finished.*describes run another"):
        run.is_complete(other)


def test_the_model_is_not_hashed_again_when_the_run_is_declared_finished(
    tiny_runs: TinyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(finish(tiny_runs.make("hashed once")))
    config, described = run.read_config(), json.loads(run.complete.read_text())["files"]
    assert described["model/model.safetensors"] == describe_file(run.model / "model.safetensors")
    hashed: list[str] = []
    monkeypatch.setattr(training_run, "describe_file", lambda file: (hashed.append(file.name), describe_file(file))[1])
    run.write_complete(config, {}, world_size=1)
    assert json.loads(run.complete.read_text())["files"] == described
    assert sorted(hashed) == sorted({"manifest.json", *(name for name in described if "/" not in name)})
    (run.model / "model.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match=r"model\.safetensors has 4 bytes"):
        run.write_complete(config, {}, world_size=1)


def test_a_finished_run_loses_the_state_it_could_not_delete(tiny_runs: TinyRuns) -> None:
    run = RunDirectory(tiny_runs.make("leftover"))
    config = run.read_config()
    run.write_complete(config, {}, world_size=1)
    (run.state / "update-000001").mkdir(parents=True)
    assert run.is_complete(config)
    assert not run.state.exists()


def test_a_second_training_of_a_run_directory_waits_then_is_refused_by_name(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    refused = pytest.raises(RunError, match=f"in use by process {os.getpid()}")
    with run.lock(), refused, RunDirectory(tmp_path).lock(wait_s=0.3):
        pass
    with RunDirectory(tmp_path).lock(wait_s=0):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunDirectory(tmp_path).lock(wait_s=0):
        assert f'"pid":{os.getpid()},' in (tmp_path / ".lock").read_text()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{tmp_path}/.lock cannot be locked" in caplog.text


def test_an_unexpected_error_is_logged_whole_and_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_off(run: RunDirectory) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(__main__, "bring_to_end", break_off)
    assert main([str(tmp_path)]) == 1
    assert f"the training of {tmp_path} broke off" in caplog.text
    assert "Traceback" in caplog.text
    assert "ZeroDivisionError: unforeseen" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "foreign", "unreadable"])
def test_a_finished_run_that_is_damaged_or_foreign_is_refused_by_name(tiny_runs: TinyRuns, damage: str) -> None:
    run = RunDirectory(finish(tiny_runs.make(f"damaged {damage}")))
    config = run.read_config()
    run.verify_complete(config)
    weights = run.model / "model.safetensors"
    match damage:
        case "missing":
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:100])
        case "changed":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
        case "foreign":
            config = config.model_copy(update={"fingerprint": "another"})
        case "unreadable":
            run.complete.write_text("")
    with pytest.raises(RunError, match="model.safetensors" if damage in ("missing", "cut", "changed") else "complete"):
        run.verify_complete(config)
