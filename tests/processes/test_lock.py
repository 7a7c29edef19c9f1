import errno
import fcntl
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from wsdm_arena.processes import lock as lock_module
from wsdm_arena.processes.lock import (
    DirectoryInUseError,
    DirectoryNotWritableError,
    lock_directory,
    read_owner,
)
from wsdm_arena.processes.lock_owner import LockOwner

HOLDER = """
import sys, time
from pathlib import Path
from wsdm_arena.processes.lock import lock_directory
with lock_directory(Path(sys.argv[1]), 0):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", refuse)


def leave(directory: Path, **changes: object) -> LockOwner:
    """Have the lock say that someone holds it."""
    owner = LockOwner.of_this_process().model_copy(update=changes)
    (directory / ".lock").write_text(owner.model_dump_json())
    return owner


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_the_file_says_who_holds_the_lock_and_is_emptied_at_the_end(tmp_path):
    assert read_owner(tmp_path) is None
    with lock_directory(tmp_path, 0):
        owner = read_owner(tmp_path)
        assert (owner.pid, owner.host) == (os.getpid(), socket.gethostname())
        assert owner.command == shlex.join(psutil.Process().cmdline())
        assert owner.since.endswith("+00:00")
        assert not owner.is_dead
        assert json.loads((tmp_path / ".lock").read_text())["boot_id"] == owner.boot_id
    assert (tmp_path / ".lock").read_bytes() == b""
    with pytest.raises(ZeroDivisionError), lock_directory(tmp_path, 0):
        raise ZeroDivisionError
    assert (tmp_path / ".lock").read_bytes() == b""


def test_who_comes_second_is_told_who_holds_it_since_when_and_what_to_do(tmp_path, holder):
    with pytest.raises(DirectoryInUseError) as refusal, lock_directory(tmp_path, 0):
        raise AssertionError("let in")
    owner = read_owner(tmp_path)
    assert owner.pid == holder.pid
    for part in (
        f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()} since {owner.since} (",
        f"wait for it, or stop process {holder.pid}, then",
    ):
        assert part in str(refusal.value)


def test_the_lock_of_a_killed_owner_is_taken_over(tmp_path, holder, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert read_owner(tmp_path).pid == holder.pid
    with caplog.at_level(logging.INFO), lock_directory(tmp_path, 0):
        assert read_owner(tmp_path).pid == os.getpid()
    assert f"left locked by process {holder.pid}" in caplog.text
    assert "which has ended; it is taken over" in caplog.text


def test_a_lock_that_outlives_its_owner_is_told_apart(tmp_path):
    with (tmp_path / ".lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a child that the owner left behind would
        leave(tmp_path, pid=dead_pid())
        with pytest.raises(DirectoryInUseError, match=r"no such process any more.*fuser .*\.lock"):
            lock_directory(tmp_path, 0).__enter__()


@pytest.mark.parametrize("text", ["", "{", '{"pid": "x"}', "[1]", "1234 on old", "\0\xff" * 9, "9" * 200_000])
def test_whatever_stands_in_the_file_the_lock_can_be_taken_and_refused(tmp_path, text):
    (tmp_path / ".lock").write_bytes(text.encode("latin-1"))
    assert read_owner(tmp_path) is None
    with lock_directory(tmp_path, 0):
        assert read_owner(tmp_path).pid == os.getpid()
        (tmp_path / ".lock").write_bytes(text.encode("latin-1"))
        with pytest.raises(DirectoryInUseError, match=r"in use by process \(unknown\); wait for it or stop it"):
            lock_directory(tmp_path, 0).__enter__()
    assert (tmp_path / ".lock").read_bytes() == b""


def test_a_free_lock_with_an_owner_of_another_machine_is_taken_over_with_a_warning(tmp_path, caplog):
    leave(tmp_path, host="elsewhere", pid=77)
    with lock_directory(tmp_path, 0):
        pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "left locked by process 77 on elsewhere" in caplog.text


def test_who_waits_gets_the_lock_when_it_is_let_go(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(lock_module.time, "sleep", lambda _: (holder.kill(), holder.wait()))
    with lock_directory(tmp_path, 60):
        assert read_owner(tmp_path).pid == os.getpid()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_directory_that_cannot_be_written_to_is_refused_by_name(tmp_path, monkeypatch, number):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock_module, "open", refuse, raising=False)
    with pytest.raises(DirectoryNotWritableError) as refusal, lock_directory(tmp_path, 0):
        raise AssertionError("let in")
    assert f"{tmp_path} cannot be written to ({os.strerror(number)}: {tmp_path}/.lock)" in str(refusal.value)


def test_a_lock_that_is_a_directory_is_refused_by_name(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(DirectoryNotWritableError, match="Is a directory"):
        lock_directory(tmp_path, 0).__enter__()


def test_a_full_disk_does_not_take_the_lock_away(tmp_path, monkeypatch, caplog):
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with lock_directory(tmp_path, 0), pytest.raises(DirectoryInUseError):
        lock_directory(tmp_path, 0).__enter__()
    assert "does not say who holds it" in caplog.text


class TestWithoutLocks:
    """On a file system that knows none, the owner's text stands in for the lock."""

    def test_a_living_owner_keeps_others_out(self, tmp_path, holder, without_locks):
        with pytest.raises(DirectoryInUseError, match=f"process {holder.pid} on"):
            lock_directory(tmp_path, 0).__enter__()
        assert read_owner(tmp_path).pid == holder.pid

    def test_it_keeps_out_this_process_itself(self, tmp_path, without_locks):
        with lock_directory(tmp_path, 0), pytest.raises(DirectoryInUseError):
            lock_directory(tmp_path, 0).__enter__()
        with lock_directory(tmp_path, 0):
            pass

    @pytest.mark.parametrize("changes", [{"pid": None}, {"started": 1}, {"boot_id": "another start"}])
    def test_a_dead_owner_is_taken_over(self, tmp_path, without_locks, caplog, changes):
        left = leave(tmp_path, **{"pid": dead_pid()} if "pid" in changes else changes)
        with caplog.at_level(logging.INFO), lock_directory(tmp_path, 0):
            assert read_owner(tmp_path) == LockOwner.of_this_process().model_copy(
                update={"since": read_owner(tmp_path).since}
            )
        assert f"left locked by process {left.pid}" in caplog.text

    def test_an_owner_on_another_machine_keeps_others_out_until_the_file_is_removed(self, tmp_path, without_locks):
        leave(tmp_path, host="elsewhere", pid=77, boot_id="its own")
        with pytest.raises(DirectoryInUseError, match=r"stop process 77 on elsewhere.*remove .*/\.lock"):
            lock_directory(tmp_path, 0).__enter__()
        (tmp_path / ".lock").unlink()
        with lock_directory(tmp_path, 0):
            pass

    @pytest.mark.parametrize("text", ["", "{", "1234 on old"])
    def test_what_is_no_owners_text_keeps_nobody_out(self, tmp_path, without_locks, text):
        (tmp_path / ".lock").write_text(text)
        with lock_directory(tmp_path, 0):
            assert read_owner(tmp_path).pid == os.getpid()


@pytest.mark.parametrize("pid", [0, -1, 2**70])
def test_numbers_that_no_process_has_are_of_the_dead(pid):
    assert LockOwner.of_this_process().model_copy(update={"pid": pid}).is_dead


def test_a_long_command_is_shown_in_part_and_on_one_line():
    owner = LockOwner(pid=1, host="h", command="x" * 1000, since="2026")
    assert str(owner) == f"process 1 on h since 2026 ({'x' * 160}...)"
    assert str(owner.model_copy(update={"command": "python -c 'a\n\tb'"})).endswith(" (python -c 'a b')")
