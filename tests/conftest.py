"""What tests must not take over from whoever started them, nor hand on to one another."""

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before anything imports torch: workers share the cores
    cores = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background job: no child could be interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, but from tests that need them (``-m gpu``, ``-m vllm``): the others compare with the CPU's float32."""
    chosen = config.option.markexpr
    if not any(mark in chosen and f"not {mark}" not in chosen for mark in ("gpu", "vllm")):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True, scope="module")
def search_paths() -> Iterator[None]:
    """Kedro puts a project's ``src`` into ``PYTHONPATH`` and ``sys.path`` when bootstrapped; here it goes again."""
    variable, path = os.environ.get("PYTHONPATH"), list(sys.path)
    yield
    sys.path[:] = path
    os.environ.pop("PYTHONPATH", None)
    if variable is not None:
        os.environ["PYTHONPATH"] = variable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in ``e2e`` take longest: they come first, so that ``pytest -n`` does not end with one busy worker."""
    items.sort(key=lambda item: group_of(item.nodeid) != "e2e")  # stable


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests on one worker, for their fixtures, and ``e2e``, whose files share a run.

    (xdist's own ``--dist loadgroup`` does not keep groups together with pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return GroupScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Let what tests print reach xdist's main process, which takes only valid Unicode."""
    report.sections = [(name, _as_utf8(text)) for name, text in report.sections]
    if report.longrepr is not None and _as_utf8(report.longreprtext) != report.longreprtext:
        report.longrepr = _as_utf8(report.longreprtext)


def _as_utf8(text: str) -> str:
    return text.encode("utf-8", errors="backslashreplace").decode()


def group_of(nodeid: str) -> str:
    """Tests of the same group share fixtures that are expensive."""
    file = nodeid.partition("::")[0]
    return "e2e" if file.startswith("tests/e2e/") else file
