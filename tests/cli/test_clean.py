"""`kedro clean` in the project."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from wsdm_arena.cli.clean import clean
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.ledger import Ledger, NodeRecord, Stored

PROJECT = Path(__file__).parents[2]
VERSIONS = [f"2026-01-0{number}T00.00.00.000Z" for number in range(1, 5)]

Command = Callable[..., Result]


@pytest.fixture
def call(tmp_path, monkeypatch) -> Command:
    """``kedro clean`` in a data folder whose ledger tells of four runs of one node, and a judge that is in none."""
    data = tmp_path / "data"
    for entry in ("teacher/gemma/selection.parquet", "teacher/retired/selection.parquet"):
        for version in VERSIONS:
            path = data / "05_model_input" / entry / version
            path.mkdir(parents=True)
            (path / "selection.parquet").write_bytes(b"x" * 5_000)
    for version in VERSIONS[2:] + VERSIONS[:2]:  # the clock jumped back
        Ledger.of(data).append(
            NodeRecord(
                run_id=version,
                node="teacher.gemma.select",
                outcome="done",
                fingerprint="f",
                time="t",
                outputs={"teacher.gemma.selection": Stored(digest="d", version=version)},
            )
        )
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("KEDRO_ENV", "sample")
    bootstrap_project(PROJECT)
    return lambda *options: CliRunner().invoke(clean, ["--params", f"data_root={data}", *options])


def left(tmp_path: Path, judge: str) -> list[str]:
    return sorted(
        path.name for path in (tmp_path / "data/05_model_input/teacher" / judge / "selection.parquet").iterdir()
    )


def test_without_delete_it_only_tells(call, tmp_path):
    ran = call("--keep", "1")
    assert ran.exit_code == 0, ran.output
    assert "4 versions and 0 work directories may go; that frees 32.8 kB" in ran.output
    assert "05_model_input/teacher/retired/selection.parquet" in ran.output
    assert left(tmp_path, "gemma") == VERSIONS


def test_with_delete_both_newest_by_name_and_by_the_ledger_stay(call, tmp_path):
    ran = call("--keep", "1", "--delete")
    assert ran.exit_code == 0, ran.output
    assert "that freed 32.8 kB" in ran.output
    assert left(tmp_path, "gemma") == left(tmp_path, "retired") == [VERSIONS[1], VERSIONS[3]]
    assert "nothing is superseded" in call("--keep", "1", "--delete").output


def test_what_stays_for_a_person_to_look_at_is_not_called_nothing(call, tmp_path):
    unknown = tmp_path / "data/06_models/.bundles/final/unknown"
    unknown.mkdir(parents=True)
    (unknown / "manifest.json").write_text('{"files": {}}')
    told = " ".join(call("--keep", "4").output.split())
    assert "stays: 06_models/.bundles/final/unknown: no record names it; --unknown removes it" in told
    assert told.endswith("nothing else was found; what is listed stays, for the reason beside it.")
    assert "superseded" not in told


def test_machines_are_told_of_every_item(call, tmp_path):
    told = json.loads(call("--keep", "1", "--json").stdout)
    assert (told["deleted"], told["data_root"]) == (False, str(tmp_path / "data"))
    assert len(told["items"]) == 8
    assert sum(item["disk_bytes"] for item in told["items"] if item["removed"]) == told["freed_bytes"]


def test_while_a_run_is_under_way_nothing_is_removed(call, tmp_path):
    with lock_directory(tmp_path / "data", wait_s=0):
        ran = call("--keep", "1", "--delete")
        assert call("--keep", "1").exit_code == 0, "to look is no harm"
    assert ran.exit_code == 1
    assert "nothing was removed" in ran.output
    assert "is in use by process" in ran.output
    assert left(tmp_path, "gemma") == VERSIONS


def test_a_damaged_scoreboard_is_told_in_one_message(call, tmp_path):
    (tmp_path / "data/08_reporting/scoreboard.json").write_text("{")
    for options in ([], ["--delete"]):
        ran = call(*options)
        assert ran.exit_code == 1
        assert "nobody knows what it cites" in ran.output
        assert "Traceback" not in ran.output


def test_a_disk_that_cannot_be_written_to_is_told_in_one_message(call, tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(30, "Read-only file system", str(tmp_path / "data/.lock"))

    monkeypatch.setattr("wsdm_arena.cli.clean.lock_directory", refuse)
    ran = call("--delete")
    assert ran.exit_code == 1
    assert "nothing was removed: [Errno 30] Read-only file system" in ran.output


def test_what_could_not_be_removed_makes_it_fail(call, tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(13, "Permission denied", str(path))

    monkeypatch.setattr("wsdm_arena.runs.cleaning.remove_as_a_whole", refuse)
    ran = call("--keep", "1", "--delete")
    assert ran.exit_code == 1
    assert ran.output.count("still there: ") == 4
    assert "that freed 0 B" in ran.output


def test_at_least_one_version_stays(call):
    assert call("--keep", "0").exit_code == 2


def test_a_data_folder_that_is_not_there_is_clean(call, tmp_path):
    ran = CliRunner().invoke(clean, ["--params", f"data_root={tmp_path / 'none'}", "--delete"])
    assert "nothing is superseded" in ran.output
    assert not (tmp_path / "none").exists()
