"""What the tests of the real vLLM share."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.generation.generation_cases import make_config, processes_with
from wsdm_arena.config import GenerationConfig
from wsdm_arena.processes import parent_death

MARK = "VLLM_TEST"
"""Variable that the processes of a test carry."""
GONE_AFTER_S = 15.0
START_S = 400.0
"""Far longer than vLLM takes to start on an idle machine."""


def vllm_config(python: str, model: Path, *, sampling: dict[str, Any] | None = None, **fields: Any) -> GenerationConfig:
    vllm = {"python": python, "cpu_kv_cache_gib": 0.25, "stop_grace_s": 8, **fields.pop("vllm", {})}
    entry = {"engine": "vllm", "model": str(model), "dtype": "float32", "max_model_tokens": 256, **fields}
    return make_config(
        {"tiny": entry}, vllm=vllm, sampling={"temperature": 0.0, "max_new_tokens": 16, **(sampling or {})}
    )


def wait_until(is_time: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_time():
        assert process.poll() is None, f"it ended too soon, with {process.returncode}"
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def wait_until_gone(value: str) -> None:
    deadline = time.monotonic() + GONE_AFTER_S
    while alive := processes_with(MARK, value):
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.1)


@contextmanager
def serve_vllm(python: str, model: Path, port: int, log: Path, mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """vLLM's own server under the model's name ``tiny``, ready; stopped at the end, and with this process."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny", "--dtype", "float32"]
    options += ["--max-model-len", "256", "--enforce-eager", "--kv-cache-memory-bytes", str(2**28)]
    server = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *options]
    environment = {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "SPT_NOENV": "1",  # or its processes overwrite their marks with titles
        MARK: mark,
    }
    dies_with_us = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid())]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*dies_with_us, *server], env={**os.environ, **environment}, stdout=file, stderr=file
        )
    try:
        wait_until(lambda: _is_ready(port), process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            for pid in processes_with(MARK, mark):
                os.kill(pid, signal.SIGKILL)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False
