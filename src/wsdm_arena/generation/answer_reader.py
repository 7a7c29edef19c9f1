"""Follow the files that workers append answers to, while somebody else waits for the workers."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from wsdm_arena.generation.answers import decode_answer
from wsdm_arena.generation.engine import Answer

logger = logging.getLogger(__name__)

_POLL_INTERVAL_S = 0.2


class AnswerReader:
    """A thread that hands on every answer as soon as its line is complete; leaving the context reads the rest.

    Args:
        paths: Files of JSON lines; they may not exist yet.
        on_answer: Called with each answer, in the thread or in the one that leaves the context, never in both at once.
        on_failure: Called once if ``on_answer`` raises; it is not called again then.

    Attributes:
        failure: What ``on_answer`` raised.
    """

    def __init__(
        self, paths: Sequence[Path], on_answer: Callable[[Answer], None], on_failure: Callable[[], None]
    ) -> None:
        self.failure: Exception | None = None
        self._offsets = dict.fromkeys(paths, 0)
        self._on_answer, self._on_failure = on_answer, on_failure
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="read-answers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read what was written last; an unfinished line is no answer."""
        self._ended.set()
        self._thread.join()
        self._read()

    def _follow(self) -> None:
        while not self._ended.wait(_POLL_INTERVAL_S):
            self._read()

    def _read(self) -> None:
        if self.failure is not None:
            return
        try:
            for path in self._offsets:
                for line in self._new_lines(path):
                    self._hand_on(path, line)
        except Exception as error:
            self.failure = error
            self._on_failure()

    def _new_lines(self, path: Path) -> list[bytes]:
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._offsets[path])
            content = file.read()
        *lines, unfinished = content.split(b"\n")
        self._offsets[path] += len(content) - len(unfinished)
        return lines

    def _hand_on(self, path: Path, line: bytes) -> None:
        answer = decode_answer(line)
        if answer is None:
            logger.warning("%s: not an answer: %.200r", path.name, line)
        else:
            self._on_answer(answer)
