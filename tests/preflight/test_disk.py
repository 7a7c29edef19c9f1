import errno
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from wsdm_arena.errors import UserError
from wsdm_arena.preflight import disk
from wsdm_arena.preflight.disk import check_space, check_writable, existing_folder


def test_what_the_nodes_that_run_need_is_compared_with_what_is_free(plan, tmp_path, monkeypatch):
    usage = disk.shutil._ntuple_diskusage(100, 50, 3 * 10**9)
    asked = []
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: asked.append(path) or usage)
    needs = [190 * 10**9, 3 * 10**9]
    monkeypatch.setattr(disk, "required_bytes", lambda config, data_root, nodes: needs.pop(0) if nodes else None)
    run = plan(["build_battles"])
    assert check_space(run) == []  # its input is missing
    (tmp_path / "01_raw").mkdir()
    (tmp_path / "01_raw" / "train.parquet").touch()
    run = replace(run)
    (problem,) = check_space(run)
    assert problem.startswith(f"{tmp_path}: the run needs about 190.0 GB, 3.0 GB are free; `kedro clean` shows what")
    assert check_space(run) == []
    assert asked == [tmp_path, tmp_path]
    assert check_space(replace(run, to_run=frozenset())) == []


def test_a_need_that_nobody_knows_is_no_reason_to_refuse(plan, tmp_path, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise UserError("the size of gemma is nowhere to be found")

    monkeypatch.setattr(disk, "required_bytes", fail)
    with caplog.at_level("INFO"):
        assert check_space(plan(["build_test_pairs"])) == []
    assert "is not known: the size of gemma is nowhere to be found" in caplog.text


def test_a_folder_that_is_not_there_is_on_the_disk_of_those_above_it(tmp_path):
    assert existing_folder(tmp_path / "a" / "b") == tmp_path
    (tmp_path / "file").touch()
    assert existing_folder(tmp_path / "file" / "b") == tmp_path


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_data_root_that_nothing_can_be_written_to_is_refused(plan, tmp_path, monkeypatch, number):
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    (problem,) = check_writable(plan(["build_battles"]))
    assert problem.startswith(f"{tmp_path}: nothing can be written there ({os.strerror(number)}); make it writable")
    assert list(tmp_path.iterdir()) == []


def test_the_real_file_system_is_asked(plan, tmp_path):
    run = plan(["build_battles"])
    assert check_writable(run) == []
    assert list(tmp_path.iterdir()) == []
    (problem,) = check_writable(replace(run, data_root=Path("/proc/self")))  # nobody can write there
    assert problem.startswith("/proc/self: nothing can be written there")


def test_folders_within_the_data_root_are_looked_at(plan, tmp_path, monkeypatch):
    closed = tmp_path / "03_primary"
    closed.mkdir()
    access = os.access
    monkeypatch.setattr(disk.os, "access", lambda path, mode: path != closed and access(path, mode))
    (problem,) = check_writable(plan(["build_battles"]))
    assert problem.startswith(f"{closed}: nothing can be written there")
    assert check_writable(plan(["mine_prompts"])) == []


def test_a_run_that_does_nothing_needs_to_write_nothing(plan, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: pytest.fail("written"))
    run = plan(["build_battles"])
    assert check_writable(replace(run, to_run=frozenset())) == []
