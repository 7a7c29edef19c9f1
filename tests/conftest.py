"""What tests must not take over from whoever started them, nor hand on to one another."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before anything imports torch: workers share the cores
    cores = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background job: no child could be interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def search_paths() -> Iterator[None]:
    """Kedro puts a project's ``src`` into ``PYTHONPATH`` and ``sys.path`` when bootstrapped; here it goes again."""
    variable, path = os.environ.get("PYTHONPATH"), list(sys.path)
    yield
    sys.path[:] = path
    os.environ.pop("PYTHONPATH", None)
    if variable is not None:
        os.environ["PYTHONPATH"] = variable


@pytest.hookimpl(tryfirst=True)  # before xdist writes the groups down
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ``pytest -n`` keeps together: a file's tests, for their fixtures, and ``e2e``, which starts first."""
    e2e = Path(__file__).parent / "e2e"
    items.sort(key=lambda item: e2e not in item.path.parents)  # stable
    for item in items:
        group = "e2e" if e2e in item.path.parents else str(item.path.relative_to(e2e.parent))
        item.add_marker(pytest.mark.xdist_group(group))
