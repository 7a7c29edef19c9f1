"""End a process when its parent ends, even if the parent was killed with SIGKILL.

Two users. A process calls :func:`die_with_parent` when it starts. A command that cannot be changed is started as
``python parent_death.py <pid of the starter> <command> ...``: the script asks the kernel for SIGTERM at the starter's
death and becomes the command, which keeps that wish across ``exec``. A function between fork and exec would do the
same, but is unsafe in a process that runs threads. Standard library only, so that the script starts in milliseconds.

Linux tells the child by signal; elsewhere a thread looks once a second, and the script does nothing.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

SUPERVISOR_VARIABLE = "WSDM_ARENA_SUPERVISOR"
"""Set for a supervised command and all it starts: ``<pid of the supervising process>:<random id>``."""

_PR_SET_PDEATHSIG = 1  # source: linux/prctl.h
_POLL_INTERVAL_S = 1.0


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have this process killed when its parent ends; call it first thing in a process's entry.

    The signal is sent when the *thread* that started this process ends, which for torchrun is its main thread.
    A parent that had already ended when this was called counts too. SIGKILL is the default because a rank that waits
    in a collective never gets to run a Python signal handler.
    """
    parent = os.getppid()
    if not _request_death_signal(death_signal):
        watch = threading.Thread(target=_watch_parent, args=(parent, death_signal), daemon=True, name="watch-parent")
        watch.start()
    if os.getppid() != parent or _is_orphan(parent):
        os.kill(os.getpid(), death_signal)


def _request_death_signal(death_signal: signal.Signals) -> bool:
    """Ask the kernel for ``death_signal`` at the parent's death; False where there is no such service."""
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) == 0


def _is_orphan(parent: int) -> bool:
    """Whether the process that started this one was gone before :func:`die_with_parent` could look.

    Whoever adopts an orphan (init, a user's systemd) was not started under the supervisor, so it does not carry the
    supervisor's mark; often it is another user's and cannot be read at all. Without a mark or a /proc nothing can be
    said.
    """
    mark = os.environ.get(SUPERVISOR_VARIABLE)
    if mark is None or mark.partition(":")[0] == str(parent) or not Path("/proc/self/environ").exists():
        return False
    try:
        environment = Path(f"/proc/{parent}/environ").read_bytes()
    except OSError:  # ended just now, or not ours
        return True
    return f"{SUPERVISOR_VARIABLE}={mark}".encode() not in environment.split(b"\0")


def _watch_parent(parent: int, death_signal: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_INTERVAL_S)
    os.kill(os.getpid(), death_signal)


def _become_command(starter: int, command: list[str]) -> None:
    """Replace this process by ``command``, which gets SIGTERM when ``starter`` ends."""
    _request_death_signal(signal.SIGTERM)
    if os.getppid() != starter:
        sys.exit(128 + signal.SIGTERM)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    _become_command(int(sys.argv[1]), sys.argv[2:])
