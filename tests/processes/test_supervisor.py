"""What run_supervised promises, with children that are not torchrun."""

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import psutil
import pytest

from wsdm_arena.processes import ProcessFailed, run_supervised


def python(source: str, *args: str) -> list[str]:
    return [sys.executable, "-c", source, *args]


def living(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def interrupt_when(path: Path, number: signal.Signals) -> threading.Thread:
    """Send this process a signal as soon as ``path`` exists."""

    def wait_and_send() -> None:
        while not path.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


def test_output_reaches_stderr_and_the_log_and_the_environment_reaches_the_child(tmp_path, capsys):
    log_path = tmp_path / "output.log"
    source = "import os, sys; print(os.environ['GREETING']); print('\\x1b[31mred\\x1b[0m', file=sys.stderr)"
    for _ in range(2):
        run_supervised(python(source), env={"GREETING": "good day"}, grace_s=1, log_path=log_path)
    assert capsys.readouterr().err.count("good day") == 2
    lines = log_path.read_text().splitlines()
    assert [line for line in lines if not line.startswith("=== ")] == ["good day", "red", "good day", "red"]
    assert sum(line.startswith("=== ") for line in lines) == 2, "each start is named in the log"


def test_the_log_keeps_the_last_state_of_a_redrawn_line_and_an_unfinished_one(tmp_path):
    log_path = tmp_path / "output.log"
    source = "import sys; sys.stdout.write('1 %\\r\\x1b[2K50 %\\r\\x1b[2K100 %\\r\\nunfinished')"
    run_supervised(python(source), grace_s=1, log_path=log_path)
    assert log_path.read_text().splitlines()[1:] == ["100 %", "unfinished"]


def test_a_failure_names_command_code_cause_and_log(tmp_path):
    log_path = tmp_path / "output.log"
    with pytest.raises(ProcessFailed) as caught:
        run_supervised(python("raise ValueError('no such fold')"), grace_s=1, log_path=log_path)
    lines = str(caught.value).splitlines()
    assert caught.value.returncode == 1
    assert lines[0].startswith(sys.executable)
    assert lines[0].endswith("exited with code 1:")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-2] == "ValueError: no such fold"
    assert lines[-1] == f"All it printed: {log_path}"


def test_a_killed_command_is_said_to_have_been_killed():
    with pytest.raises(ProcessFailed, match=r"was ended by SIGKILL \(often: out of memory\)"):
        run_supervised(python("import os; os.kill(os.getpid(), 9)"), grace_s=1)


def test_a_command_that_does_not_exist_fails_with_its_name():
    with pytest.raises(ProcessFailed, match=r"cannot start no-such-launcher: No such file or directory") as caught:
        run_supervised(["no-such-launcher", "--nodes=2"], grace_s=1)
    assert caught.value.returncode == 127


def test_what_an_ended_command_left_behind_is_killed(tmp_path):
    source = (
        "import pathlib, subprocess, sys; "
        "child = subprocess.Popen(['sleep', '120'], start_new_session=True); "
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))"
    )
    run_supervised(python(source, str(tmp_path / "pid")), grace_s=1)
    assert not living(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("number", "exception", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143), (signal.SIGHUP, SystemExit, 129)],
)
def test_a_signal_to_us_stops_the_command_before_it_is_passed_on(tmp_path, number, exception, code):
    if signal.getsignal(number) is signal.SIG_IGN:  # the tests run under nohup, and so would the command
        pytest.skip("this signal is ignored here")
    pid_path = tmp_path / "pid"
    source = (
        "import os, pathlib, sys, time; path = pathlib.Path(sys.argv[1]); "
        "path.with_name('pid.part').write_text(str(os.getpid())); path.with_name('pid.part').rename(path); "
        "time.sleep(120)"
    )
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    thread = interrupt_when(pid_path, number)
    with pytest.raises(exception) as caught:
        run_supervised(python(source, str(pid_path)), grace_s=30)
    thread.join()
    assert getattr(caught.value, "code", None) == code
    assert not living(int(pid_path.read_text()))
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_a_command_that_ignores_sigterm_is_killed_when_its_grace_is_over(tmp_path):
    ready = tmp_path / "ready"
    source = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "pathlib.Path(sys.argv[1]).touch(); time.sleep(120)"
    )
    threads = [interrupt_when(ready, signal.SIGINT), interrupt_when(ready, signal.SIGTERM)]  # an impatient user
    begin = time.monotonic()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_supervised(python(source, str(ready)), grace_s=1)
    for thread in threads:
        thread.join()
    assert 1 <= time.monotonic() - begin < 20


def test_an_error_of_ours_stops_the_command(tmp_path, monkeypatch):
    from wsdm_arena.processes.output import ChildOutput

    def fail(self: ChildOutput, timeout_s: float) -> bool:
        monkeypatch.undo()
        raise OSError("no space left on device")

    monkeypatch.setattr(ChildOutput, "pump", fail)
    before = set(psutil.Process().children())
    with pytest.raises(OSError, match="no space left"):
        run_supervised(["sleep", "120"], grace_s=5)
    assert set(psutil.Process().children()) <= before


def test_an_ignored_signal_stays_ignored(tmp_path):
    ready = tmp_path / "ready"
    source = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(1)"
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        thread = interrupt_when(ready, signal.SIGHUP)
        run_supervised(python(source, str(ready)), grace_s=1)
        thread.join()
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert ready.exists(), "the signal was sent while the command ran"


def test_at_a_terminal_the_child_has_one_of_the_same_width(supervision):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 123))
    source = "import os, sys; print('terminal', sys.stderr.isatty(), os.get_terminal_size(2).columns)"
    supervision.start(python(source), terminal_fd=theirs)
    os.close(theirs)
    assert supervision.process.wait(30) == 0
    assert b"terminal True 123\r\n" in os.read(ours, 65_536)
    os.close(ours)
    assert supervision.log_path.read_text().splitlines()[1:] == ["terminal True 123"]


def test_a_killed_progress_bar_leaves_the_terminal_usable(supervision):
    ours, theirs = pty.openpty()
    source = "import time; print('\\x1b[?25l50 %', end='', flush=True); time.sleep(120)"
    supervision.start(python(source), terminal_fd=theirs)
    os.close(theirs)
    assert os.read(ours, 65_536) == b"\x1b[?25l50 %", "the bar hides the cursor"
    supervision.process.terminate()
    supervision.wait_until_gone(10)
    assert os.read(ours, 65_536).endswith(b"\x1b[?25h\r\n")
    os.close(ours)


def test_sigkill_of_the_supervising_process_ends_the_command(supervision):
    source = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(120)"
    supervision.start(python(source, str(supervision.folder / "ready")))
    supervision.wait_for("ready")
    assert len(supervision.members()) == 2
    supervision.process.kill()
    supervision.wait_until_gone(5)


def test_die_with_parent_ends_a_process_whose_parent_ended_first(tmp_path):
    """The parent is gone before the call: the kernel will send nothing any more."""
    late = (
        "import pathlib, sys, time; from wsdm_arena.processes import die_with_parent; time.sleep(1); "
        "folder = pathlib.Path(sys.argv[1]); (folder / 'began').touch(); die_with_parent(); "
        "(folder / 'survived').touch()"
    )
    hasty = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]])"
    marked = {**os.environ, "WSDM_ARENA_SUPERVISOR": "1234567890:mark of a supervisor that is not there"}
    subprocess.run(python(hasty, late, str(tmp_path)), env=marked, check=True)
    time.sleep(3)
    assert (tmp_path / "began").exists()
    assert not (tmp_path / "survived").exists()


def test_die_with_parent_leaves_a_process_alone_whose_parent_lives(tmp_path):
    source = "from wsdm_arena.processes import die_with_parent; die_with_parent(); print('alive')"
    assert subprocess.run(python(source), capture_output=True, check=True, text=True).stdout == "alive\n"
    run_supervised(python(source), grace_s=1, log_path=tmp_path / "log")
    assert "alive" in (tmp_path / "log").read_text()
