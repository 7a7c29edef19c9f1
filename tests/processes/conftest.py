"""A supervised command in a process of its own, and what is left of it."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

FOLDER = Path(__file__).parent
TREE = "WSDM_ARENA_TEST_TREE"


class Supervision:
    """Starts ``supervise.py`` and finds every process that came of it by a variable of its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_path = folder / "output.log"
        self._tree = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str], *, grace_s: float = 35, terminal_fd: int | None = None) -> None:
        environment = {**os.environ, TREE: self._tree, "PYTHONPATH": str(FOLDER), "OMP_NUM_THREADS": "1"}
        streams = {"stdout": terminal_fd, "stderr": terminal_fd} if terminal_fd else {"stderr": subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, str(FOLDER / "supervise.py"), str(grace_s), str(self.log_path), *command],
            env=environment,
            stdin=terminal_fd,
            start_new_session=True,
            preexec_fn=None if terminal_fd is None else lambda: _make_controlling(terminal_fd),
            **streams,
        )

    def wait_for(self, *names: str, timeout_s: float = 90) -> None:
        """Until the ranks have written these files."""
        self.wait_until(lambda: all((self.folder / name).exists() for name in names), timeout_s, f"no {names}")

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            log = self.log_path.read_text() if self.log_path.exists() else ""
            assert time.monotonic() < deadline, f"{complaint} after {timeout_s} s; log:\n{log}"
            time.sleep(0.05)

    def wait_until_gone(self, timeout_s: float) -> None:
        self.wait_until(lambda: not self.members(), timeout_s, "still there")

    def members(self) -> list[psutil.Process]:
        """All living processes of the tree, ``supervise.py`` included."""
        if self.process is not None:
            self.process.poll()
        processes = psutil.process_iter(["environ"])
        return [each for each in processes if (each.info["environ"] or {}).get(TREE) == self._tree]

    def member(self, part_of_command: str) -> psutil.Process:
        """The oldest process of the tree with this in its command line, ``supervise.py`` aside."""
        fitting = [each for each in self.members() if part_of_command in " ".join(each.cmdline())]
        assert self.process is not None
        return min((each for each in fitting if each.pid != self.process.pid), key=psutil.Process.create_time)


def _make_controlling(terminal_fd: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal_fd, termios.TIOCSCTTY, 0)


@pytest.fixture
def supervision(tmp_path: Path) -> Iterator[Supervision]:
    """A supervision whose processes are all dead afterwards, whatever the test found."""
    it = Supervision(tmp_path)
    yield it
    for process in it.members():
        process.kill()
    if it.process is not None:
        it.process.wait()
        if it.process.stderr is not None:
            it.process.stderr.close()
