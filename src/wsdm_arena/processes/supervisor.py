"""Run a command in the foreground and leave no process behind, however it or we end.

How each end is covered (tried with torchrun, whose workers have sessions of their own, so that killing its process
group misses them):

* Ctrl-C, SIGTERM, SIGHUP to us: noted, not acted on, so that nothing interrupts the clean-up. The command gets SIGTERM,
  which torchrun passes on; after ``grace_s`` whatever carries our mark is killed. The command has a session of its own:
  a Ctrl-C at the terminal reaches us alone, and torchrun is not interrupted twice.
* An exception in here: the same.
* The command ends by itself, or somebody kills it: what it left is found by its mark, and killed.
* We are killed with SIGKILL: the kernel sends the command SIGTERM (see :mod:`wsdm_arena.processes.parent_death`).
* We and torchrun are both killed: the workers notice by themselves if they called ``die_with_parent``.
"""

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import psutil

from wsdm_arena.errors import UserError
from wsdm_arena.processes import parent_death
from wsdm_arena.processes.failure import cause_of_failure, describe_signal
from wsdm_arena.processes.output import ChildOutput

logger = logging.getLogger(__name__)

_POLL_INTERVAL_S = 0.2
_KILL_ROUNDS = 10


class ProcessFailed(UserError, RuntimeError):  # noqa: N818  (says what happened)
    """A supervised command ended with an error; the message says which, how, and its last words.

    Attributes:
        returncode: Exit code, or minus the number of the signal that ended the command.
        last_lines: What it printed last, the oldest line first.
    """

    def __init__(self, command: Sequence[str], returncode: int, lines: Sequence[str], log_path: Path | None) -> None:
        how = f"exited with code {returncode}" if returncode >= 0 else f"was ended by {describe_signal(-returncode)}"
        cause = "\n".join(cause_of_failure(lines)) or "(it printed nothing)"
        where = f"\nAll it printed: {log_path}" if log_path else ""
        super().__init__(f"{shlex.join(command)} {how}:\n{cause}{where}")
        self.returncode = returncode
        self.last_lines = tuple(lines)


def run_supervised(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, grace_s: float, log_path: Path | None = None
) -> None:
    """Run ``command`` to its end, showing its output live on stderr.

    Call it from the main thread: elsewhere Python delivers no signals, and the kernel takes the end of the calling
    thread for our end.

    Args:
        command: Program and arguments; no shell.
        env: Variables added to our environment for the command and all it starts.
        grace_s: How long the command may take to stop after SIGTERM before it is killed, in seconds.
        log_path: The output is appended here, without colours and redrawn bars; its folder must exist.

    Raises:
        ProcessFailed: The command exited with another code than 0, or was killed.
        KeyboardInterrupt: SIGINT arrived; everything is stopped.
        SystemExit: SIGTERM or SIGHUP arrived; everything is stopped. The code is 128 + the signal's number.
    """
    mark = f"{os.getpid()}:{uuid.uuid4().hex}"
    # The clean-up is left before the output is, so that the last words of the killed are still read.
    with _NotedSignals() as signals, ChildOutput(log_path) as output:
        output.note(f"=== {datetime.now().astimezone().isoformat(timespec='seconds')} {shlex.join(command)}")
        child = _start(command, env or {}, mark, output)
        family: list[psutil.Process] = []
        try:
            while child.poll() is None and signals.received is None:
                output.pump(_POLL_INTERVAL_S)
        finally:
            if child.poll() is None:
                family = _descendants(child.pid)
                _stop(child, output, grace_s)
            _kill_leftovers(mark, family)
    if signals.received is signal.SIGINT:
        raise KeyboardInterrupt
    if signals.received is not None:
        raise SystemExit(128 + signals.received)
    if child.returncode != 0:
        raise ProcessFailed(command, child.returncode, list(output.last_lines), log_path)


class _NotedSignals:
    """While entered, SIGINT, SIGTERM and SIGHUP are noted instead of acted on.

    Only in the main thread, and only those that were not ignored before (``nohup``, background jobs). Installing a
    handler also undoes SA_RESTART, which some libraries set for SIGINT and which would let a wait outlast Ctrl-C.

    Attributes:
        received: The first signal that arrived.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)


def _start(command: Sequence[str], env: Mapping[str, str], mark: str, output: ChildOutput) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **env, parent_death.SUPERVISOR_VARIABLE: mark}
    exec_script = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid())]
    child = subprocess.Popen(
        [*exec_script, *command],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=output.child_fd,
        stderr=output.child_fd,
        start_new_session=True,
    )
    output.child_started()
    return child


def _stop(child: subprocess.Popen[bytes], output: ChildOutput, grace_s: float) -> None:
    """End the command: SIGTERM, and SIGKILL when ``grace_s`` is over; its farewell goes to the log only."""
    logger.warning("Stopping process %d and all it started; this may take up to %.0f s.", child.pid, grace_s)
    output.mute()
    child.terminate()
    deadline = time.monotonic() + grace_s
    while child.poll() is None and time.monotonic() < deadline:
        output.pump(_POLL_INTERVAL_S)
    if child.poll() is None:
        child.kill()
        child.wait()


def _kill_leftovers(mark: str, family: Sequence[psutil.Process]) -> None:
    """Kill what still lives of ``family`` and of everything that carries ``mark``, until there is none.

    In rounds, as a process may have started another while it was being killed.
    """
    for _ in range(_KILL_ROUNDS):
        alive = {process for process in family if _is_alive(process)} | set(_carrying(mark))
        if not alive:
            return
        logger.warning("Killing %d left-over processes: %s", len(alive), sorted(process.pid for process in alive))
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(list(alive), timeout=1.0)
    logger.error("Processes that do not end when killed (a hanging driver or disk?) are still there.")


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _carrying(mark: str) -> list[psutil.Process]:
    processes = psutil.process_iter(["environ"])
    return [each for each in processes if (each.info["environ"] or {}).get(parent_death.SUPERVISOR_VARIABLE) == mark]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
