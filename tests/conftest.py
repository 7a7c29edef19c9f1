"""What tests must not take over from whoever started them, nor hand on to one another."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

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
