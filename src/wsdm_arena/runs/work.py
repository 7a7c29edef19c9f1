"""What a node's library code did with the work that a fingerprint names: made, resumed or reused it, and where."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["made", "resumed", "reused", "incomplete"]


@dataclass(frozen=True)
class Work:
    """One piece of work that lives in a directory of its own, named by its fingerprint."""

    kind: str
    """``training``, ``scoring``, ``tokens``, ``backbone``, ``bundle`` or ``answers``."""
    fingerprint: str
    """Same one, same result."""
    outcome: Outcome
    """``reused``: it was complete; ``resumed``: a part of it was there; ``incomplete``: something is missing in it that
    another run may get."""
    directory: str
    """Where it is kept."""

    def to_dict(self) -> dict[str, Any]:
        """As the ledger writes it."""
        return asdict(self)


_collected: ContextVar[list[Work] | None] = ContextVar("collected_work", default=None)


def record_work(kind: str, fingerprint: str, outcome: Outcome, directory: Path) -> None:
    """Tell whoever collects it what was done; without a collector nothing happens."""
    if (collected := _collected.get()) is not None:
        collected.append(Work(kind, fingerprint, outcome, str(directory)))


@contextmanager
def collecting_work() -> Iterator[list[Work]]:
    """Collect what :func:`record_work` is told within the block, in this thread."""
    collected: list[Work] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)
