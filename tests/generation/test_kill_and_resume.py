"""Runs that are killed at any moment end with the same answers as one that was not, and leave no process."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.generation.generation_cases import STUB_VLLM, make_requests, processes_with, read_log
from wsdm_arena.generation.engine import request_seed

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("generate_in_process.py")


class Run:
    """A run in a process of its own, as often as one likes."""

    def __init__(self, folder: Path, kind: str, num_prompts: int, seconds: float) -> None:
        self.folder, self.log = folder, folder.with_suffix(".jsonl")
        self._command = [sys.executable, str(SCRIPT), kind, str(folder), str(num_prompts)]
        paths = os.pathsep.join([str(ROOT), str(STUB_VLLM)])
        self.scratch = folder.with_suffix(".tmp")
        self.scratch.mkdir()
        self._environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "TMPDIR": str(self.scratch),
            "STUB_LOG": str(self.log),
            "STUB_SECONDS": str(seconds),
        }

    def finish(self) -> pd.DataFrame:
        subprocess.run(self._command, env=self._environment, check=True, capture_output=True)
        return pd.read_parquet(self.folder / "table.parquet")

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)

    def kill_when(self, is_time: Callable[[], bool], number: signal.Signals = signal.SIGKILL) -> int:
        """Start it and send it a signal at the right moment."""
        process = self.start()
        while not is_time():
            assert process.poll() is None, "it ended too soon"
            time.sleep(0.005)
        process.send_signal(number)
        return process.wait(timeout=30)

    def asked(self) -> list[str]:
        return [entry["prompt"] for entry in read_log(self.log, "answer")]

    def recorded(self) -> Counter[str]:
        lines = b"".join(path.read_bytes() for path in self.folder.glob("*.jsonl")).split(b"\n")
        return Counter(line for line in lines if line)

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + 20
        while alive := processes_with("STUB_LOG", str(self.log)):
            assert time.monotonic() < deadline, f"still there: {alive}"
            time.sleep(0.05)


@pytest.fixture
def make_run(tmp_path):
    runs = []

    def make(name, kind, num_prompts, seconds):
        runs.append(Run(tmp_path / name, kind, num_prompts, seconds))
        return runs[-1]

    yield make
    for run in runs:
        for pid in processes_with("STUB_LOG", str(run.log)):
            os.kill(pid, signal.SIGKILL)


def test_killed_runs_lose_only_the_answer_they_waited_for(make_run):
    expected = make_run("uninterrupted", "slow", 5, 0).finish()
    run = make_run("killed", "slow", 5, 0.02)
    moments = (1, 9, 12, 17)  # of 20 answers; 10 are the first model's
    for moment in moments:
        assert run.kill_when(lambda moment=moment: len(run.asked()) >= moment) == -signal.SIGKILL
    pd.testing.assert_frame_equal(run.finish(), expected)
    assert set(run.recorded().values()) == {1}
    assert len(run.recorded()) == 20
    assert len(run.asked()) <= 20 + len(moments)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_a_run_and_the_next_one_goes_on(make_run, number):
    run = make_run("stopped", "vllm", 40, 0.01)
    run.kill_when(lambda: len(run.recorded()) >= 64, number)  # within the second of four batches
    if number != signal.SIGKILL:
        assert processes_with("STUB_LOG", str(run.log)) == [], "they ended before the run did"
    run.wait_until_gone()
    assert list(run.scratch.glob("wsdm-arena-workers-*")) == []
    num_asked, num_recorded = len(run.asked()), len(run.recorded())
    assert num_recorded < 160
    table = run.finish()
    assert len(run.asked()) == num_asked + 160 - num_recorded, "what was recorded is not asked for again"
    assert set(run.recorded().values()) == {1}
    requests = make_requests(40, ["first", "second"])
    assert table["request_id"].tolist() == requests["request_id"].tolist()
    asked = zip(requests["prompt"], requests["request_id"], strict=True)
    assert table["text"].tolist() == [f"{prompt} -> {request_seed(0, request_id)}" for prompt, request_id in asked]


def test_a_run_and_its_pool_killed_at_once_leave_no_worker(make_run):
    run = make_run("both", "vllm", 40, 0.01)
    process = run.start()
    while not run.asked():
        assert process.poll() is None, "it ended too soon"
        time.sleep(0.01)
    [pool] = psutil.Process(process.pid).children()
    [worker] = pool.children()
    process.kill()
    pool.kill()
    process.wait()
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running()
