"""Find, in what a failed child printed last, the lines that say why.

torchrun ends a failed run with a page of its own: that a worker failed, its own traceback, a table. The worker's own
words stand above that page.
"""

import re
import signal
from collections.abc import Sequence

MAX_LINES = 20

_TORCHRUN_PAGE = re.compile(r"^[WE]\d{4} .*torch/distributed/elastic/multiprocessing/api\.py:\d+\]")
_ROOT_CAUSE = "Root Cause (first observed failure):"
_ROOT_RANK = re.compile(r"^\s*rank\s*: (\d+)")
_ROOT_EXIT_CODE = re.compile(r"^\s*exitcode\s*: (-?\d+)")
_TRACEBACK = re.compile(r"^(\[rank\d+\]: )?Traceback \(most recent call last\):$")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")


def cause_of_failure(lines: Sequence[str]) -> list[str]:
    """Pick at most about :data:`MAX_LINES` lines: the first worker's traceback, else the last lines printed.

    The first, because the other ranks fail after it and because of it. A worker that a signal killed leaves no
    traceback, and then it is those of the others that mislead: only that it was killed is reported.
    """
    page = next((index for index, line in enumerate(lines) if _TORCHRUN_PAGE.match(line)), len(lines))
    printed = [line for line in lines[:page] if line.strip()]
    killed = _killed_worker(lines[page:])
    if killed is not None:
        rank, by = killed
        note = f"rank {rank} was ended by {describe_signal(by)}"
        return [note] if by == signal.SIGKILL else [*printed[-MAX_LINES:], note]
    start = next((index for index, line in enumerate(printed) if _TRACEBACK.match(line)), None)
    return printed[-MAX_LINES:] if start is None else _shorten(_traceback(printed[start:]))


def describe_signal(number: int) -> str:
    """Name a signal, with the usual reason where the name does not tell."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name} (often: out of memory)" if number == signal.SIGKILL else name


def _killed_worker(page: Sequence[str]) -> tuple[int, int] | None:
    """Read from torchrun's page which rank was killed first, and by which signal; None if none was."""
    if _ROOT_CAUSE not in page:
        return None
    root = page[page.index(_ROOT_CAUSE) :]
    ranks = [int(match[1]) for line in root if (match := _ROOT_RANK.match(line))]
    codes = [int(match[1]) for line in root if (match := _ROOT_EXIT_CODE.match(line))]
    return (ranks[0], -codes[0]) if ranks and codes and codes[0] < 0 else None


def _traceback(lines: Sequence[str]) -> list[str]:
    """Cut one process's traceback, with the exceptions chained to it, out of lines that begin with it."""
    match = _TRACEBACK.match(lines[0])
    rank = (match[1] or "") if match else ""
    own = [line.removeprefix(rank) for line in lines if line.startswith(rank)]
    kept = own[:1]
    for line in own[1:]:
        is_another = bool(_TRACEBACK.match(line)) and not kept[-1].startswith(_CHAINED)
        if is_another:
            break
        kept.append(line)
    return kept


def _shorten(lines: list[str]) -> list[str]:
    if len(lines) <= MAX_LINES:
        return lines
    left_out = len(lines) - MAX_LINES + 2
    return [lines[0], f"  ... {left_out} lines left out ...", *lines[-(MAX_LINES - 2) :]]
