"""However a run that generates with vLLM ends: no process of vLLM is left, and the next run asks only for the rest."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.generation.generation_cases import processes_with
from tests.vllm.vllm_cases import MARK, wait_until, wait_until_gone

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

PROJECT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("generate_in_process.py")
NUM_REQUESTS = 600
"""In batches of 64, 128, 256: the prompts of later ones are more than vLLM computes in a step."""


class Run:
    """A run in a process of its own, as often as one likes."""

    def __init__(self, python: str, model: Path, folder: Path) -> None:
        self.folder, self.mark = folder, str(folder)
        self.command = [sys.executable, str(SCRIPT), python, str(model), str(folder), str(NUM_REQUESTS)]
        paths = os.pathsep.join([str(PROJECT), str(PROJECT / "src")])
        self.environment = {**os.environ, "PYTHONPATH": paths, MARK: self.mark, "TMPDIR": str(folder.parent)}

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, env={**self.environment, **variables}, stderr=subprocess.DEVNULL)

    def recorded(self) -> Counter[bytes]:
        lines = b"".join(path.read_bytes() for path in self.folder.glob("*.jsonl")).split(b"\n")
        return Counter(line for line in lines if line)

    def engine_processes(self, name: str) -> list[int]:
        """vLLM's processes by the title that it gives them, or by their command line."""
        found = []
        for pid in processes_with(MARK, self.mark):
            try:
                found += [pid] if name in " ".join(psutil.Process(pid).cmdline()) else []
            except psutil.NoSuchProcess:
                continue
        return found


@pytest.fixture
def run(vllm_python, model_dir, tmp_path):
    it = Run(vllm_python, model_dir, tmp_path / "answers")
    yield it
    for pid in processes_with(MARK, it.mark):
        os.kill(pid, signal.SIGKILL)


def test_runs_that_are_ended_leave_no_process_and_keep_their_answers(run):
    process = run.start()  # while vLLM is being imported
    wait_until(lambda: bool(run.engine_processes("vllm_worker.py")), process)
    process.send_signal(signal.SIGINT)
    wait_until_gone(run.mark)
    assert process.wait() != 0
    assert not run.recorded()
    for number in (signal.SIGTERM, signal.SIGKILL):  # while it answers
        before = len(run.recorded())
        process = run.start()
        wait_until(lambda before=before: len(run.recorded()) >= before + 64, process)
        process.send_signal(number)
        wait_until_gone(run.mark)
        assert process.wait() != 0
        assert len(run.recorded()) < NUM_REQUESTS
    kept = run.recorded()
    assert len(kept) >= 128
    assert run.start().wait() == 0
    table = pd.read_parquet(run.folder / "table.parquet")
    assert set(table["finish_reason"]) == {"stop", "length"}, set(table["error"].dropna())
    assert len(table) == NUM_REQUESTS == len(run.recorded())
    assert set(run.recorded().values()) == {1}, "nothing was asked twice"
    assert kept.items() <= run.recorded().items()
    assert list(run.folder.parent.glob("wsdm-arena-workers-*")) == []
    wait_until_gone(run.mark)


def test_processes_of_vllms_own_as_on_gpus_are_gone_too(run):
    process = run.start(VLLM_ENABLE_V1_MULTIPROCESSING="1")
    wait_until(lambda: len(run.recorded()) >= 64, process)
    assert run.engine_processes("EngineCore")
    process.kill()
    process.wait()
    wait_until_gone(run.mark)
