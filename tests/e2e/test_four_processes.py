"""The a100 environment's four-process path, on CPUs with gloo and a tiny backbone."""

import json
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]

ON_CPU = {
    "launcher.backend": "gloo",
    "launcher.device": "cpu",
    "launcher.threads_per_process": 1,
    "judges.llama.attention": "auto",
    "judges.gemma.attention": "auto",
    "training.dtype": "float32",  # bfloat16 is a hundred times slower here
    "training.optimizer.peak_learning_rate": 3e-4,
}
SMALLER = {
    "training.max_battles": 64,
    "training.max_tokens_per_micro_batch": 4096,
    "training.evaluation.battles_at_start": 8,
    "preferences.num_folds": 30,
    "roster.teachers": "[llama]",
    "roster.students": "[llama]",
    "roster.final_held_out": "[]",
}


def test_the_a100_environment_trains_and_scores_with_four_processes(simulated, tmp_path):
    project = type(simulated)(tmp_path)
    project.run("--env", "a100", "--pipelines", "simulated_arena")  # files of another env would be refused
    project.run("--env", "a100", "--to-outputs", "collected_labels", **ON_CPU, **SMALLER)
    (training,) = (tmp_path / "06_models" / ".runs" / "teacher.llama").iterdir()
    finished = json.loads((training / "complete.json").read_text())
    assert finished["world_size"] == 4
    run = json.loads((training / "run.json").read_text())["judge"]["training"]
    assert run["activation_checkpointing"] is True
    assert (run["sharding"], run["battles_per_update"], run["optimizer"]["name"]) == ("gradients", 16, "stable_adamw")
    (scoring,) = (tmp_path / "07_model_output" / ".runs" / "teacher.llama").iterdir()
    assert "--nproc-per-node 4" in (scoring / "torchrun.log").read_text()
    pairs = pd.read_parquet(tmp_path / "03_primary" / "collected_pairs.parquet")
    scored = pd.read_parquet(scoring / "predictions.parquet")
    assert set(scored["pair_id"]) == set(pairs["pair_id"])
    assert len(scored) == len(pairs)
