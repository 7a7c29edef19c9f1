"""Run the workers of one answer model side by side: ``python -m wsdm_arena.generation.worker_pool <pool.json>``.

The one command that is supervised (:func:`wsdm_arena.processes.run_supervised`) for any number of workers. Its own end
ends them: on SIGTERM, which it also gets when its supervisor is killed, it asks the workers to stop, waits, and kills
what is left. A worker that fails does not stop the others; what it has started is killed at once, as it may hold the
memory of a GPU.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from wsdm_arena.processes import parent_death
from wsdm_arena.processes.failure import describe_signal
from wsdm_arena.processes.lock import lock_directory

_POLL_INTERVAL_S = 0.1
_WORKER_VARIABLE = "WSDM_ARENA_WORKER"
"""Marks all processes of one worker, those included that outlive it."""
_LOCK_MARGIN_S = 15.0
_STOPPED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class PoolSpec:
    """What the pool is to run.

    Attributes:
        commands: One a worker.
        environments: Variables added for each worker.
        grace_s: How long workers may take to stop before they are killed.
        stop_file: The pool stops, as after SIGTERM, when this file appears.
        locked_directory: Locked until all workers are gone; None: no lock. The workers of a run that was killed may
            need ``grace_s`` to free their GPUs, and a new run waits for them.
    """

    commands: list[list[str]]
    environments: list[dict[str, str]]
    grace_s: float
    stop_file: str
    locked_directory: str | None


class _Termination:
    """Whether SIGTERM has arrived."""

    def __init__(self) -> None:
        self.requested = self._ends_at_once = False
        signal.signal(signal.SIGTERM, self._note)

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """While entered, SIGTERM raises :class:`SystemExit`: there is nothing to stop yet."""
        self._ends_at_once = True
        try:
            if self.requested:  # before
                raise SystemExit(_STOPPED)
            yield
        finally:
            self._ends_at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._ends_at_once:
            raise SystemExit(_STOPPED)


def run_pool(spec: PoolSpec) -> int:
    """Run all workers to their ends.

    Returns:
        Exit code: 0 if every worker ended well, 143 if the pool was stopped, else 1.
    """
    termination = _Termination()
    directory, wait_s = spec.locked_directory, spec.grace_s + _LOCK_MARGIN_S
    with ExitStack() as stack:
        if directory is not None:
            with termination.ending_at_once():
                stack.enter_context(lock_directory(Path(directory), wait_s))
        workers: list[subprocess.Popen[bytes]] = []
        try:
            for rank, (command, environment) in enumerate(zip(spec.commands, spec.environments, strict=True)):
                workers.append(_start(command, environment | {_WORKER_VARIABLE: _mark(rank)}))
            running = set(range(len(workers)))
            while running:
                if termination.requested or Path(spec.stop_file).exists():
                    return _STOPPED
                for rank in [rank for rank in running if workers[rank].poll() is not None]:
                    running.remove(rank)
                    _kill(_carrying(_WORKER_VARIABLE, _mark(rank)))
                time.sleep(_POLL_INTERVAL_S)
        finally:
            _stop(workers, spec.grace_s)
    return _report([worker.returncode for worker in workers])


def _mark(rank: int) -> str:
    return f"{os.getpid()}.{rank}"


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    exec_script = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid())]
    return subprocess.Popen(
        [*exec_script, *command],
        # Process titles are written over /proc/<pid>/environ unless the last is set: clean-up finds processes there.
        env={**os.environ, **environment, "SPT_NOENV": "1"},
        stdin=subprocess.DEVNULL,
    )


def _stop(workers: list[subprocess.Popen[bytes]], grace_s: float) -> None:
    """Let workers stop themselves and their processes, then kill what is left of them."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    deadline = time.monotonic() + grace_s
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_S)
    _kill(_family())
    for worker in workers:
        worker.wait()


def _family() -> list[psutil.Process]:
    """All processes that came of this one, orphans included; without a supervisor's mark only its descendants."""
    mark = os.environ.get(parent_death.SUPERVISOR_VARIABLE)
    family = set(psutil.Process().children(recursive=True))
    if mark is not None:
        family.update(_carrying(parent_death.SUPERVISOR_VARIABLE, mark))
    return [process for process in family if process.pid != os.getpid()]


def _carrying(variable: str, value: str) -> list[psutil.Process]:
    processes = psutil.process_iter(["environ"])
    return [process for process in processes if (process.info["environ"] or {}).get(variable) == value]


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _report(returncodes: list[int]) -> int:
    for number, code in enumerate(returncodes, start=1):
        if code < 0:  # a signal leaves no last words
            sys.stderr.write(f"worker {number} of {len(returncodes)} was ended by {describe_signal(-code)}\n")
    return 1 if any(returncodes) else 0


def _main() -> int:
    supervisor = os.getppid()
    spec_file = Path(sys.argv[1])
    described: dict[str, Any] = json.loads(spec_file.read_text(encoding="utf-8"))
    try:
        return run_pool(PoolSpec(**described))
    finally:
        if os.getppid() != supervisor:  # it was killed, and cannot tidy up any more
            shutil.rmtree(spec_file.parent, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(_main())
