"""One version or the other is always there, whenever a process is killed and however many there are."""

import errno
import logging
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from wsdm_arena.runs import directories
from wsdm_arena.runs.directories import link_tree, recover_directories, replacing_directory

FORK = multiprocessing.get_context("fork")


def write(directory: Path, content: str) -> None:
    with replacing_directory(directory) as partial:
        (partial / "weights").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "judge"
    write(directory, "1")
    (directory / "stale").touch()
    write(directory, "2")
    assert (names(directory), (directory / "weights").read_text()) == (["weights"], "2")
    assert names(directory.parent) == ["judge"]


def test_a_failure_keeps_the_older_directory(tmp_path: Path) -> None:
    write(tmp_path / "judge", "1")

    def fail() -> None:
        with replacing_directory(tmp_path / "judge") as partial:
            (partial / "weights").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (names(tmp_path), (tmp_path / "judge" / "weights").read_text()) == (["judge"], "1")


def _killed_at_rename(directory: Path, number: int) -> None:
    replace, seen = os.replace, []

    def kill(source: Path, target: Path) -> None:
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(target)
        replace(source, target)

    os.replace = kill
    write(directory, "2")


@pytest.mark.parametrize(("number", "kept"), [(0, "1"), (1, "1"), (2, "2")])
def test_a_kill_between_renames_loses_no_version(tmp_path: Path, number: int, kept: str) -> None:
    """Before the first rename, between the two, and before the older one has a name that is not given back."""
    directory = tmp_path / "judge"
    write(directory, "1")
    child = FORK.Process(target=_killed_at_rename, args=(directory, number))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == -signal.SIGKILL
    assert directory.exists() == (number != 1)
    assert len(names(tmp_path)) > 1

    def fail() -> None:
        with replacing_directory(directory):
            assert (directory / "weights").read_text() == kept
            raise RuntimeError("the next attempt fails, too")

    with pytest.raises(RuntimeError, match="the next attempt"):
        fail()
    assert (names(tmp_path), (directory / "weights").read_text()) == (["judge"], kept)


def test_a_second_rename_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "judge"
    write(directory, "1")
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".partial"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write(directory, "2")
    assert (names(tmp_path), (directory / "weights").read_text()) == (["judge"], "1")


def test_what_was_killed_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    for leftover in (
        ".judge.1234567.partial",
        ".judge.1234567.old",
        ".judge.x.y.partial",
        ".judge.notes",
        ".other.1.partial",
    ):
        (tmp_path / leftover).mkdir()
    write(tmp_path / "other.1", "1")
    write(tmp_path / "judge", "1")
    with replacing_directory(tmp_path / "judge") as living:
        write(tmp_path / "judge", "2")
        assert living.is_dir()
        (living / "weights").write_text("3")
    assert (tmp_path / "judge" / "weights").read_text() == "3"
    assert names(tmp_path) == [".judge.notes", ".judge.x.y.partial", ".other.1.partial", "judge", "other.1"]


def test_an_older_directory_without_a_newer_one_gets_its_name_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".judge.1.old").mkdir()
    (tmp_path / ".judge.1.old" / "weights").touch()
    (tmp_path / ".judge.1.partial").mkdir()
    recover_directories(tmp_path, "judge")
    assert (names(tmp_path), names(tmp_path / "judge")) == (["judge"], ["weights"])
    assert "a process was killed while it replaced it" in caplog.text
    recover_directories(tmp_path / "nowhere", "judge")
    assert not (tmp_path / "nowhere").exists()


def _write_often(directory: Path, barrier, number: int) -> None:
    barrier.wait()
    for attempt in range(30):
        write(directory, f"{number} {attempt}")


def test_processes_that_write_at_once_all_succeed(tmp_path: Path) -> None:
    barrier = FORK.Barrier(3)
    children = [FORK.Process(target=_write_often, args=(tmp_path / "judge", barrier, n)) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert names(tmp_path) == ["judge"]
    assert (tmp_path / "judge" / "weights").read_text().endswith(" 29")


def test_without_locks_nothing_is_removed_that_may_be_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(directories.fcntl, "flock", refuse)
    (tmp_path / ".judge.1.partial").mkdir()
    write(tmp_path / "judge", "1")
    write(tmp_path / "judge", "2")
    assert (names(tmp_path), (tmp_path / "judge" / "weights").read_text()) == ([".judge.1.partial", "judge"], "2")


def test_a_tree_is_linked_or_copied_and_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    (source / "fused").mkdir(parents=True)
    for name in ("weights", "fused/weights"):
        (source / name).write_text(name)
    link_tree(source, tmp_path / "linked")
    assert all((tmp_path / "linked" / name).samefile(source / name) for name in ("weights", "fused/weights"))

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    with caplog.at_level(logging.INFO):
        link_tree(source, tmp_path / "copied")
    assert (tmp_path / "copied" / "fused" / "weights").read_text() == "fused/weights"
    assert [record.getMessage()[:32] for record in caplog.records] == ["copied instead of linked: 2 file"]
