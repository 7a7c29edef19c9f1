"""What a pool of workers leaves behind, and when."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from wsdm_arena.generation.worker_pool import PoolSpec
from wsdm_arena.processes.lock import lock_directory

TIMEOUT_S = 60
DIES_WITHOUT_ITS_CHILD = "setsid sleep 300 & echo $! > {pid_file}; exit 1"
WAITS_FOR_THE_CHILD_S_END = """
import pathlib, sys, time, psutil
deadline = time.monotonic() + 30
pid_file = pathlib.Path(sys.argv[1])
while not pid_file.exists() or not pid_file.read_text().strip():
    time.sleep(0.05)
pid = int(pid_file.read_text())
def is_running():
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
while is_running() and time.monotonic() < deadline:
    time.sleep(0.05)
pathlib.Path(sys.argv[2]).write_text("gone" if time.monotonic() < deadline else "still there")
"""


def start_pool(folder: Path, commands: list[list[str]], *, grace_s: float = 5, locked: Path | None = None):
    spec = PoolSpec(
        commands=commands,
        environments=[{} for _ in commands],
        grace_s=grace_s,
        stop_file=str(folder / "stop"),
        locked_directory=str(locked) if locked else None,
    )
    file = folder / "pool.json"
    file.write_text(json.dumps(vars(spec)))
    return subprocess.Popen([sys.executable, "-m", "wsdm_arena.generation.worker_pool", str(file)])


def test_what_a_dead_worker_started_is_killed_while_the_others_go_on(tmp_path):
    pid_file, seen = tmp_path / "pid", tmp_path / "seen"
    dying = ["sh", "-c", DIES_WITHOUT_ITS_CHILD.format(pid_file=pid_file)]
    watching = [sys.executable, "-c", WAITS_FOR_THE_CHILD_S_END, str(pid_file), str(seen)]
    assert start_pool(tmp_path, [dying, watching]).wait(TIMEOUT_S) == 1
    assert seen.read_text() == "gone"


def test_a_pool_that_waits_for_an_earlier_one_can_be_stopped(tmp_path):
    started = tmp_path / "started"
    with lock_directory(tmp_path):
        pool = start_pool(tmp_path, [["touch", str(started)]], grace_s=600, locked=tmp_path)
        while not waits_for_a_lock(pool.pid):
            assert pool.poll() is None
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(TIMEOUT_S) == 128 + signal.SIGTERM
    assert not started.exists()


def waits_for_a_lock(pid: int) -> bool:
    """Whether a process has the lock's file open."""
    try:
        return any(file.path.endswith("/.lock") for file in psutil.Process(pid).open_files())
    except psutil.NoSuchProcess:
        return False


def test_workers_that_end_well_leave_a_good_end(tmp_path):
    assert start_pool(tmp_path, [["true"], ["true"]], locked=tmp_path).wait(TIMEOUT_S) == 0
