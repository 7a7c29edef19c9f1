"""Files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside ``path`` to write to; it becomes ``path`` if the block ends well, and goes if not.

    Example:
        >>> with replacing(Path("table.csv")) as partial:  # doctest: +SKIP
        ...     frame.to_csv(partial)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
