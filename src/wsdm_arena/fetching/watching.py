"""How far a download is, where the hubs' clients do not say: they draw bars, which a log cannot hold."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from wsdm_arena.progress import is_terminal, show_progress

POLL_EVERY_S = 2.0


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder, at any depth; files may come and go meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


@contextlib.contextmanager
def watch_download(name: str, folder: Path, num_bytes: int | None) -> Iterator[None]:
    """Log how a folder grows while the context is open; at a terminal the client's own bars are there instead.

    Off the terminal nothing is written to ``sys.stderr`` meanwhile, but for what handlers of logs hold of it.

    Args:
        name: Of what is downloaded.
        folder: Where it comes to; it need not be there yet.
        num_bytes: Of all that will lie there; None: unknown.
    """
    if is_terminal():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(name, folder, num_bytes, done), daemon=True)
    thread.start()
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        done.set()
        thread.join()


def _watch(name: str, folder: Path, num_bytes: int | None, done: threading.Event) -> None:
    before = bytes_in(folder) // 1_000_000
    total = None if num_bytes is None else num_bytes // 1_000_000
    with show_progress(f"{name} downloaded, MB", done=before, total=total) as progress:
        is_done = False
        while not is_done:
            is_done = done.wait(POLL_EVERY_S)
            progress(bytes_in(folder) // 1_000_000)
