"""Lines of progress where there is no terminal, bars where there is one; with a clock that the tests set."""

import contextlib
import io
import logging
import os
import pty
import re
import select
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import pytest

from wsdm_arena import progress as progress_module
from wsdm_arena.progress import hide_progress, may_draw_bars, show_duration, show_progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was logged, filled in when it is looked at."""

    class Lines(list):
        def __eq__(self, other: object) -> bool:
            return [record.getMessage() for record in caplog.records] == other

        def __repr__(self) -> str:
            return repr([record.getMessage() for record in caplog.records])

    with caplog.at_level(logging.INFO, logger="wsdm_arena"):
        yield Lines()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[Terminal]]:
    """Makes stderr a terminal while a context is open; pytest itself changes stderr between set-up and test."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")

    @contextmanager
    def watch() -> Iterator[Terminal]:
        with contextlib.redirect_stderr(Terminal()) as terminal:
            yield terminal

    return watch


def test_lines_tell_count_share_and_time_left_and_the_last_one_the_time_taken(clock, lines):
    with show_progress("teacher.gemma tokens of battles", clock=clock) as progress:
        clock.now += 8
        progress(4_000, 10_500)  # too early for a line
        clock.now += 2
        progress(4_096, 10_500)
        clock.now += 10
        progress(10_500, 10_500)
    assert lines == [
        "teacher.gemma tokens of battles: 4,096 of 10,500 (39 %), 16 s left",
        "teacher.gemma tokens of battles: 10,500 of 10,500 (100 %), took 20 s",
    ]


@pytest.mark.parametrize(("seconds", "num_lines"), [(1.9, 0), (9.0, 1), (100.0, 10), (1_000.0, 17), (6_000.0, 100)])
def test_a_line_comes_at_most_every_ten_seconds_and_at_least_every_minute(clock, caplog, seconds, num_lines):
    """A thousand calls: ten lines, or one a minute where a tenth takes longer, and the last one."""
    with caplog.at_level(logging.INFO), show_progress("work", clock=clock) as progress:
        for done in range(1, 1_001):
            clock.now += seconds / 1_000
            progress(done, 1_000)
    assert len(caplog.records) == num_lines


def test_short_work_and_work_without_news_log_nothing(clock, lines):
    with show_progress("nothing to do", clock=clock):
        clock.now += 100
    with show_progress("short", clock=clock) as progress:
        clock.now += 1
        progress(1, 1)
    assert lines == []


def test_what_an_earlier_run_did_does_not_count_for_the_time_left(clock, lines):
    with show_progress("updates", done=10, total=30, clock=clock) as progress:
        clock.now += 20
        progress.advance(10, details="loss 0.69")
        clock.now += 1
        progress.advance(10)
    assert lines == [
        "updates: 20 of 30 (66 %), loss 0.69, 20 s left",
        "updates: 30 of 30 (100 %), loss 0.69, took 21 s",
    ]


def test_an_unknown_total_gets_counts_and_the_time_so_far(clock, lines):
    with show_progress("judged tokens", clock=clock) as progress:
        clock.now += 60
        progress(12_000, None)
    assert lines == ["judged tokens: 12,000, 1 min 00 s so far", "judged tokens: 12,000, took 1 min 00 s"]


def test_work_that_breaks_off_says_where(clock, lines):
    with suppress(OSError), show_progress("work", clock=clock) as progress:
        clock.now += 5
        progress(3, 4)
        raise OSError("disk full")
    assert lines == ["work: 3 of 4 (75 %), broke off after 5 s"]


def test_a_process_that_is_not_the_first_shows_nothing(clock, lines, watched):
    hide_progress()
    try:
        for place in (watched, nullcontext):
            with place() as terminal, show_progress("work", at_once=True, clock=clock) as progress:
                clock.now += 100
                progress(1, 2)
                assert not may_draw_bars()
                assert terminal is None or terminal.getvalue() == ""
    finally:
        hide_progress(False)
    assert lines == []


def test_a_terminal_gets_a_bar_with_details_and_no_lines(clock, lines, watched):
    with watched() as terminal, show_progress("teacher.gemma [updates]", clock=clock) as progress:
        clock.now += 3
        progress(2, 4, "loss 0.5000, 1.0 GiB")
        clock.now += 100
        progress(4, 4)
    shown = terminal.getvalue()
    assert "teacher.gemma [updates]" in shown
    assert "4/4" in shown
    assert "loss 0.5000, 1.0 GiB" in shown
    assert lines == []


def test_a_terminal_shows_nothing_of_short_work(clock, watched):
    with watched() as terminal, show_progress("short", clock=clock) as progress:
        clock.now += 1
        progress(1, 1)
    assert terminal.getvalue() == ""


def test_while_a_bar_is_drawn_log_lines_pass_above_it_and_handlers_get_their_streams_back(clock, watched):
    logger = logging.getLogger("test_progress.lines")
    with watched() as terminal:
        handler = logging.StreamHandler(terminal)
        logger.addHandler(handler)
        with show_progress("bar", total=2, at_once=True, clock=clock) as progress:
            assert handler.stream is not terminal
            logger.warning("first words")
            with show_progress("bar within", total=2, at_once=True, clock=clock):
                logger.warning("second words")
            progress(2)
        assert handler.stream is terminal
        assert sys.stderr is terminal
        logger.warning("last words")
        logger.removeHandler(handler)
    shown = _screen(terminal.getvalue())
    assert [line.strip() for line in shown if "words" in line] == ["first words", "second words", "last words"]
    assert sum("bar" in line for line in shown) == 1, "the inner bar is gone"


def test_a_dumb_terminal_gets_lines(clock, lines, watched, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with watched() as terminal, show_progress("work", at_once=True, clock=clock) as progress:
        clock.now += 5
        progress(1, 1)
    assert terminal.getvalue() == ""
    assert lines == ["work: 1 of 1 (100 %), took 5 s"]


def test_no_stderr_is_no_reason_to_fail(clock, lines, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with show_progress("work", at_once=True, clock=clock) as progress:
        clock.now += 5
        progress(1, 1)
    assert lines == ["work: 1 of 1 (100 %), took 5 s"]


def test_durations_are_for_people():
    assert [show_duration(s) for s in (0.4, 59.6, 72, 3_599, 7_500, 200_000)] == [
        "0 s",
        "1 min 00 s",
        "1 min 12 s",
        "59 min 59 s",
        "2 h 05 min",
        "2 d 07 h",
    ]


CHILD = textwrap.dedent(
    """
    import logging, sys
    from wsdm_arena.progress import show_progress
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    clock = iter(range(0, 1000, 5))
    with show_progress("child work", total=4, at_once=True, clock=lambda: next(clock)) as progress:
        for _ in range(4):
            progress.advance()
            logging.info("a line of the child")
    """
)
PARENT = textwrap.dedent(
    """
    import logging, sys, time
    from wsdm_arena.processes import run_supervised
    from wsdm_arena.progress import show_progress
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    command = [sys.executable, "-c", "print('words of a child', flush=True)"]
    with show_progress("work of the parent", total=2, at_once=True) as progress:
        run_supervised(command, grace_s=1)
        progress.advance(2)
    """
)


def test_through_a_pipe_a_child_of_ours_sends_lines_without_control_codes(tmp_path, capfd):
    from wsdm_arena.processes import run_supervised

    run_supervised([sys.executable, "-c", CHILD], grace_s=1, log_path=tmp_path / "log")
    shown = capfd.readouterr().err
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert shown.count("a line of the child\n") == 4
    assert "child work: 4 of 4 (100 %), took" in shown
    assert "child work: 4 of 4 (100 %), took" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("source", "words", "bar"), [(CHILD, "a line of the child", "4/4"), (PARENT, "words of", "2/2")]
)
def test_on_a_real_terminal_words_stand_on_lines_of_their_own(source, words, bar):
    shown = _run_at_terminal(source)
    assert bar in shown
    assert "took" not in shown, "a bar and its lines would tell the same twice"
    for line in _screen(shown):
        assert not (words in line and "work" in line), f"a bar was torn: {line!r}"
    assert sum(words in line for line in _screen(shown)) == (4 if source is CHILD else 1)
    assert sum("work" in line for line in _screen(shown)) == 1, "one bar is left"


def _run_at_terminal(source: str) -> str:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", source],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            shown += os.read(ours, 65_536)
        except OSError:  # the child has closed it
            break
    os.close(ours)
    assert child.wait(30) == 0, shown
    return shown.decode()


def _screen(shown: str) -> list[str]:
    """What a terminal shows in the end of text, carriage returns, and sequences that go up and clear lines."""
    rows, row = [""], 0
    for piece in _pieces(shown):
        if piece == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif piece == "\x1b[1A":
            row -= 1
        elif piece == "\x1b[2K":
            rows[row] = ""
        elif piece == "\r":
            continue
        elif not piece.startswith("\x1b"):
            rows[row] = piece if piece.strip() and not rows[row].strip() else rows[row] + piece
    return rows


def _pieces(shown: str) -> list[str]:
    return re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", shown)


def test_the_module_loads_without_rich():
    assert "rich" not in vars(progress_module)
    source = "import sys, wsdm_arena.progress; assert not any(name.startswith('rich') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", source], check=True)
