"""The number of processes changes nothing but the order of summation."""

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.tiny_runs import TinyRuns, command, environment, finish, metrics, train_until, weights
from wsdm_arena.training.run import RunDirectory
from wsdm_arena.training.start import build_initial_judge

pytestmark = pytest.mark.slow

TEN_UPDATES: dict[str, Any] = {"battles_per_update": 7}  # 40 and 28 battles: 6 + 4 updates
RUNS: dict[str, dict[str, Any]] = {
    "adamw": {"training": TEN_UPDATES},
    "stable": {"training": TEN_UPDATES | {"optimizer": {"name": "stable_adamw"}}},
    "language": {"training": TEN_UPDATES | {"language_modeling_weight": 0.5}},
    "gemma": {
        "judge": "gemma",
        "training": TEN_UPDATES
        | {"sharding": "full", "activation_checkpointing": True, "max_tokens_per_micro_batch": 99},
    },
    "language, full": {
        "judge": "gemma",
        "training": TEN_UPDATES | {"sharding": "full", "language_modeling_weight": 0.5},
    },
    "resumed": {"training": TEN_UPDATES | {"checkpoint": {"every_updates": 4}}},
    "bfloat16": {"training": TEN_UPDATES | {"dtype": "bfloat16"}},
}
TOLERANCES = {"bfloat16": (0.05, 0.01, 0.05)}
"""How far movement, losses and gradient norms may be apart, as shares; rounding the weights sets bfloat16's."""
FEWER_SEQUENCES_THAN_RANKS = {"training": {"battles_per_update": 1, "max_battles": 5}}
SCORING_BUDGETS = (1, 130, 100_000)


@pytest.fixture(scope="module")
def one_rank(tiny_runs: TinyRuns) -> dict[str, Path]:
    runs = {name: finish(tiny_runs.make(f"one {name}", **changes)) for name, changes in RUNS.items()}
    runs["few"] = finish(tiny_runs.make("one few", **FEWER_SEQUENCES_THAN_RANKS))
    return runs


@pytest.fixture(scope="module")
def two_ranks(tiny_runs: TinyRuns, one_rank: dict[str, Path]) -> dict[str, Path]:
    """All runs, and the judge of one rank, scored again with several budgets."""
    runs = {name: tiny_runs.make(f"two {name}", **changes) for name, changes in RUNS.items()}
    runs |= scored_again(tiny_runs, one_rank["adamw"], "by two")
    train_until(runs["resumed"], 6)
    assert (runs["resumed"] / "state/update-000004").is_dir()  # written by one rank
    finish_together(2, list(runs.values()))
    return runs


@pytest.fixture(scope="module")
def three_ranks(tiny_runs: TinyRuns, one_rank: dict[str, Path]) -> dict[str, Path]:
    """One run of few battles, and the judge of one rank, scored again with several budgets."""
    runs = {"few": tiny_runs.make("three few", **FEWER_SEQUENCES_THAN_RANKS)}
    runs |= scored_again(tiny_runs, one_rank["adamw"], "by three")
    runs["in pieces"] = tiny_runs.make("three adamw", **RUNS["adamw"])
    finish_together(3, ["--in-pieces", *runs.values()])
    return runs


def scored_again(tiny_runs: TinyRuns, trained: Path, name: str) -> dict[str, Path]:
    """Runs that find a trained judge and have only to score it, one a budget."""
    runs = {}
    for budget in SCORING_BUDGETS:
        training = TEN_UPDATES | {"max_tokens_per_scoring_batch": budget}
        fingerprint = RunDirectory(trained).read_config().fingerprint
        run = tiny_runs.make(f"scored {name} {budget}", training=training, fingerprint=fingerprint)
        (run / "model").symlink_to(trained / "model")
        runs[f"scored {budget}"] = run
    return runs


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_train_the_judge_of_one(one_rank: dict[str, Path], two_ranks: dict[str, Path], name: str) -> None:
    """Head dropout is on; "resumed" was begun by one rank and ended by two."""
    assert_same_training(one_rank[name], two_ranks[name], *TOLERANCES.get(name, ()))


def test_three_ranks_that_exchange_layer_by_layer_train_the_judge_of_one(
    one_rank: dict[str, Path], three_ranks: dict[str, Path]
) -> None:
    assert_same_training(one_rank["adamw"], three_ranks["in pieces"])


def test_ranks_without_sequences_take_part(one_rank: dict[str, Path], three_ranks: dict[str, Path]) -> None:
    """Two sequences an update are too few for three ranks."""
    ours, theirs = weights(three_ranks["few"] / "model"), weights(one_rank["few"] / "model")
    assert len(metrics(three_ranks["few"])) == 10
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("budget", SCORING_BUDGETS)
def test_any_number_of_ranks_and_any_budget_predict_the_same(
    one_rank: dict[str, Path], two_ranks: dict[str, Path], three_ranks: dict[str, Path], budget: int
) -> None:
    for runs in (two_ranks, three_ranks):
        assert_same_predictions(one_rank["adamw"], runs[f"scored {budget}"], tolerance=1e-6)


def test_two_nodes_train_the_judge_of_one_node(tiny_runs: TinyRuns, two_ranks: dict[str, Path]) -> None:
    run = tiny_runs.make("two nodes", **RUNS["adamw"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "two"]
    agents = [
        subprocess.Popen(command(run, 1, *meeting), env=environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [agent.communicate(timeout=300)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], errors
    ours, theirs = weights(run / "model"), weights(two_ranks["adamw"] / "model")
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())


def finish_together(processes: int, runs: Sequence[Path | str]) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = Path(__file__).with_name("finish_runs.py")
    done = subprocess.run([*torchrun, script, *runs], env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]


def assert_same_training(
    first: Path, second: Path, of_movement: float = 1e-3, of_losses: float = 1e-4, of_norms: float = 1e-3
) -> None:
    start = build_initial_judge(RunDirectory(first).read_config()).state_dict()
    start = {key.removeprefix("backbone.").removeprefix("head."): tensor for key, tensor in start.items()}
    ours, theirs = weights(second / "model"), weights(first / "model")
    movement = sum(float((theirs[key] - start[key]).double().square().sum()) for key in start) ** 0.5
    difference = sum(float((theirs[key] - ours[key]).double().square().sum()) for key in start) ** 0.5
    assert movement > 0.01
    assert difference <= of_movement * movement
    assert len(metrics(second)) == 10
    losses = [[record["loss"] for record in metrics(run)] for run in (first, second)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=of_losses)
    norms = [[record["gradient_norm"] for record in metrics(run)] for run in (first, second)]
    np.testing.assert_allclose(norms[0], norms[1], rtol=of_norms)


def assert_same_predictions(first: Path, second: Path, *, tolerance: float) -> None:
    ours, theirs = (pd.read_parquet(run / "predictions.parquet") for run in (first, second))
    assert len(ours) == 2 * 28
    keys = ["pair_id", "order"]
    assert not ours.duplicated(keys).any()
    both = ours.merge(theirs, on=keys, validate="one_to_one")
    assert len(both) == len(ours) == len(theirs)
    for column in ("logits", "probabilities"):
        difference = np.stack(list(both[f"{column}_x"])) - np.stack(list(both[f"{column}_y"]))
        assert np.abs(difference).max() <= tolerance
