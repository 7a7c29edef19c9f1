"""SIGKILL of all processes at ten seeded moments: the run still ends with the same bits."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from tests.training.tiny_runs import TinyRuns, command, environment, launch, metrics, weights

TRAINING = {
    "epochs": 6,  # 54 updates
    "checkpoint": {"every_updates": 2},
    "evaluation": {"every_updates": 20, "battles_at_start": 4},
}
OPTIMIZERS = {  # by number of processes
    1: {"optimizer": {"name": "stable_adamw"}},
    2: {"optimizer": {"name": "adamw", "kahan_summation": True}, "dtype": "bfloat16"},
}
KILLS = {  # at which of the run's stages all processes are killed; "update" stands for a random one of them
    1: ("write", "update", "update", "write", "scoring"),
    2: ("update", "write", "update", "write", "scoring"),
}
TIMEOUT_S = 120


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_five_times_ends_bit_identically(tiny_runs: TinyRuns, processes: int) -> None:
    training = TRAINING | OPTIMIZERS[processes]
    straight = tiny_runs.make(f"straight{processes}", training=training)
    killed = tiny_runs.make(f"killed{processes}", training=training)
    assert launch(straight, processes).returncode == 0
    draw = np.random.default_rng(processes)
    seen = [kill_once(killed, processes, moment(killed, kind, draw), draw) for kind in KILLS[processes]]
    finished = launch(killed, processes)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert sum(state.endswith(".partial") for state in seen) >= 1, seen  # some were killed during a write
    assert not (killed / "state").exists()
    expected = weights(straight / "model")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(killed / "model").items())
    for table in ("predictions.parquet", "predictions_at_start.parquet"):
        ours, theirs = (read_predictions(run / table) for run in (killed, straight))
        assert ours == theirs
    assert [record["update"] for record in metrics(killed)] == list(range(1, 55))
    assert [record["loss"] for record in metrics(killed)] == [record["loss"] for record in metrics(straight)]


def moment(run: Path, kind: str, draw: np.random.Generator) -> Callable[[], bool]:
    """A question that becomes true when the processes are to be killed."""
    if kind == "scoring":
        return (run / "model").exists
    done = newest_update(run)
    wanted = int(draw.integers(done + 2, done + 10))
    if kind == "update":
        return lambda: newest_update(run) >= wanted
    return lambda: newest_update(run) >= wanted and any((run / "state").glob("*.partial"))


def newest_update(run: Path) -> int:
    """Updates done, as the last whole line of the metrics says."""
    if not (run / "metrics.jsonl").exists():
        return 0
    return (run / "metrics.jsonl").read_text().count("\n")


def kill_once(run: Path, processes: int, is_time: Callable[[], bool], draw: np.random.Generator) -> str:
    """Start the run, kill every process of it at the given moment, and tell what its newest state is called."""
    with subprocess.Popen(
        command(run, processes), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not is_time():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
        time.sleep(draw.uniform(0, 0.01))
        root = psutil.Process(process.pid)
        family = [*root.children(recursive=True), root]
        for member in family:
            member.send_signal(signal.SIGSTOP)  # so that none learns of another's death and cleans up
        for member in family:
            member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)
    assert not (run / "complete.json").exists()
    return max((path.name for path in (run / "state").glob("*")), default="")


def read_predictions(path: Path) -> list[tuple[object, ...]]:
    table = pd.read_parquet(path)
    assert len(table) > 0
    return [
        (row.pair_id, row.order, row.logits.tobytes(), row.probabilities.tobytes())
        for row in table.itertuples(index=False)
    ]
