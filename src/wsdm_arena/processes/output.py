"""What a child prints: shown live, kept in a log, its last lines remembered."""

import codecs
import contextlib
import fcntl
import os
import pty
import re
import selectors
import sys
import termios
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from wsdm_arena.progress import may_draw_bars

REMEMBERED_LINES = 1_000
_READ_BYTES = 65_536
_SHOW_CURSOR = b"\x1b[?25h"
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class ChildOutput:
    """Stdout and stderr of a child in one stream, on its way to our stderr and to a log.

    Where stderr is a terminal the child gets a terminal of its own, so that its progress bars stay live, unless bars of
    ours are drawn there; else it gets a pipe. The log, which is appended to, holds whole lines without colours and only
    the last state of a redrawn line, and so does stderr where it is no terminal or shows bars of ours.

    Attributes:
        child_fd: What the child is started with as stdout and stderr; see :meth:`child_started`.
        last_lines: The newest :data:`REMEMBERED_LINES` lines, as in the log.
    """

    def __init__(self, log_path: Path | None) -> None:
        self.last_lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._log = log_path.open("a", encoding="utf-8", errors="replace") if log_path else None
        self._console = sys.stderr
        self._is_terminal = self._console is not None and self._console.isatty() and not may_draw_bars()
        self._is_muted = self._console is None
        self._fd, self.child_fd = _open_terminal() if self._is_terminal else os.pipe()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._unfinished_line = ""
        self._last_shown = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)
        self._is_open = True

    def __enter__(self) -> Self:
        """Nothing to do: the channel is open."""
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read what is still there and close everything."""
        try:
            self._drain()
            self._tidy_terminal()
        finally:
            self.child_started()
            self._selector.close()
            os.close(self._fd)
            if self._log is not None:
                self._log.close()

    def child_started(self) -> None:
        """Close our copy of the child's end; from now on the stream ends when the child's copies are closed."""
        if self.child_fd >= 0:
            os.close(self.child_fd)
            self.child_fd = -1

    def note(self, line: str) -> None:
        """Write a line of ours to the log."""
        if self._log is not None:
            self._log.write(f"{line}\n")
            self._log.flush()

    def mute(self) -> None:
        """Stop showing what the child prints; the log goes on."""
        self._is_muted = True

    def pump(self, timeout_s: float) -> bool:
        """Pass on what the child has printed, waiting at most ``timeout_s`` for it.

        Returns:
            Whether there was anything.
        """
        if not self._is_open:
            time.sleep(timeout_s)
            return False
        if self._is_terminal:
            _copy_window_size(self._console.fileno(), self._fd)
        if not self._selector.select(timeout_s):
            return False
        try:
            chunk = os.read(self._fd, _READ_BYTES)
        except OSError:  # a terminal whose other end is closed has EIO instead of an end of file
            chunk = b""
        if not chunk:
            self._is_open = False
            self._selector.unregister(self._fd)
            return False
        if self._is_terminal:
            self._show(chunk)
        self._remember(self._decoder.decode(chunk))
        return True

    def _drain(self) -> None:
        while self._is_open and self.pump(0.0):
            pass
        if self._unfinished_line.strip():
            self._remember("\n")

    def _show(self, chunk: bytes) -> None:
        if self._is_muted:
            return
        try:
            self._last_shown = chunk
            self._console.flush()
            _write_all(self._console.fileno(), chunk)
        except OSError:  # the terminal was closed under a run that ignores SIGHUP: the log is enough
            self.mute()

    def _show_lines(self, lines: Sequence[str]) -> None:
        console = sys.stderr  # whatever it is now: a bar that is drawn lets lines pass above it
        if self._is_muted or not lines or console is None:
            return
        try:
            console.write("".join(f"{line}\n" for line in lines))
            console.flush()
        except OSError:  # nobody reads any more: the log is enough
            self.mute()

    def _tidy_terminal(self) -> None:
        """Undo what a bar that was killed has left: a hidden cursor, a line without end."""
        if self._last_shown:
            end = b"" if self._last_shown.endswith(b"\n") else b"\n"
            with contextlib.suppress(OSError):  # closed meanwhile
                _write_all(self._console.fileno(), _SHOW_CURSOR + end)

    def _remember(self, text: str) -> None:
        *lines, rest = (self._unfinished_line + text).split("\n")
        self._unfinished_line = _last_state(rest)
        finished = [_ESCAPE_SEQUENCE.sub("", _last_state(line)).rstrip() for line in lines]
        self.last_lines.extend(finished)
        if not self._is_terminal:
            self._show_lines(finished)
        if self._log is not None and finished:
            self._log.writelines(f"{line}\n" for line in finished)
            self._log.flush()


def _last_state(line: str) -> str:
    """Drop what a carriage return has overwritten; a trailing one has overwritten nothing yet."""
    body = line.rstrip("\r")
    return line[body.rfind("\r") + 1 :]


def _open_terminal() -> tuple[int, int]:
    """Open a pseudo-terminal that hands bytes on unchanged; the real one turns line feeds into new lines.

    Returns:
        Our end and the child's end.
    """
    ours, childs = pty.openpty()
    attributes = termios.tcgetattr(childs)
    attributes[1] &= ~termios.OPOST  # index 1: output flags
    termios.tcsetattr(childs, termios.TCSANOW, attributes)
    return ours, childs


def _copy_window_size(source_fd: int, target_fd: int) -> None:
    """Make one terminal as large as another, so that bars have the width of the window."""
    try:
        size = fcntl.ioctl(source_fd, termios.TIOCGWINSZ, b"\0" * 8)
        if size != fcntl.ioctl(target_fd, termios.TIOCGWINSZ, b"\0" * 8):
            fcntl.ioctl(target_fd, termios.TIOCSWINSZ, size)
    except OSError:  # a terminal without a size, or closed meanwhile: bars keep the width they have
        return


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
