"""The same seed gives the same judges, verdicts and scores from scratch; another seed gives other draws."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

CHANGING = ("run_id", "command")
"""Columns of the scoreboard that name the run and not its result."""


def newest(folder: Path) -> Path:
    return max(folder.iterdir()) / folder.name


def scores(root: Path) -> list[dict]:
    rows = json.loads((root / "08_reporting" / "scoreboard.json").read_text())
    return [{key: value for key, value in row.items() if key not in CHANGING} for row in rows]


def submissions(root: Path) -> dict[str, bytes]:
    folder = root / "07_model_output" / "submission"
    return {stage: newest(folder / stage / "submission.csv").read_bytes() for stage in ("student", "final")}


def verdicts(root: Path, stage: str) -> pd.DataFrame:
    return pd.read_parquet(newest(root / "07_model_output" / "submission" / stage / "verdicts.parquet"))


def requests(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "02_intermediate" / "answer_requests.parquet")


def wait_for(condition, child: subprocess.Popen, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_from_scratch_and_killed_on_the_way_everything_is_the_same(finished, tmp_path):
    """Stopped in a student's training; meanwhile nobody else may run there, and afterwards it goes on."""
    disturbed = type(finished)(tmp_path)
    disturbed.run("--pipelines", "simulated_arena")
    often = {"training.checkpoint.every_updates": 1, "training.log_every_updates": 1}
    child = subprocess.Popen(
        disturbed.command(**often),
        cwd=PROJECT,
        env=disturbed.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    teacher, student = (tmp_path / "06_models" / ".runs" / name for name in ("teacher.gemma", "student.llama"))
    wait_for(lambda: any(teacher.glob("*/run.json")), child)
    second = disturbed.run(check=False)
    assert f"in use by process {child.pid}" in second.stdout + second.stderr
    assert "Traceback" not in second.stdout + second.stderr
    wait_for(lambda: any(log.stat().st_size for log in student.glob("*/metrics.jsonl")), child)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    (run,) = student.iterdir()
    assert not (run / "complete.json").exists()
    shown = disturbed.kedro("status", **often)
    assert re.search(r"student .*partial \d+/\d+", shown)
    assert re.search(r"teacher .*fresh .*fresh .*fresh", shown)

    done = disturbed.run(**often)
    assert "student.llama: resuming run" in done.stdout + done.stderr
    found = disturbed.outcomes()
    assert {f"teacher.{judge}.train" for judge in ("gemma", "gemma_large", "llama")} <= found["fresh"]
    assert {"student.llama.train", "pretraining.llama.train", "final.llama.train"} <= found["done"]
    assert disturbed.work_of("student.llama.train") == ["training resumed"]
    assert disturbed.not_fresh() == {}
    assert submissions(tmp_path) == submissions(finished.data_root)
    for stage in ("student", "final"):
        pd.testing.assert_frame_equal(verdicts(tmp_path, stage), verdicts(finished.data_root, stage))
    assert scores(tmp_path) == scores(finished.data_root)
    assert len(scores(tmp_path)) > 100
    for run in (tmp_path / "06_models" / ".runs").glob("*/*"):
        weights = Path("model", "model.safetensors")
        undisturbed = finished.data_root / "06_models" / ".runs" / run.parent.name / run.name
        assert (run / weights).read_bytes() == (undisturbed / weights).read_bytes(), run


def test_with_another_seed_arena_prompts_models_and_answers_are_others(finished, tmp_path):
    other = type(finished)(tmp_path)
    seeds = {"seed": 4, "simulation.seed": 1, "generation.seed": 1}
    other.run("--pipelines", "simulated_arena", **seeds)
    other.run("--pipelines", "data_processing,pair_generation", **seeds)
    train = [pd.read_parquet(root / "01_raw" / "train.parquet") for root in (finished.data_root, tmp_path)]
    assert not set(train[0]["id"]) & set(train[1]["id"])
    drawn = [set(requests(root)["prompt_group"]) for root in (finished.data_root, tmp_path)]
    assert len(drawn[0] & drawn[1]) < len(drawn[0]) / 2  # short prompts coincide


def test_the_generations_seed_alone_changes_its_draws(finished, tmp_path):
    other = type(finished)(tmp_path)
    other.run("--pipelines", "simulated_arena")
    other.run("--pipelines", "data_processing,pair_generation", **{"generation.seed": 1})
    first, second = requests(finished.data_root), requests(tmp_path)
    shared = first.merge(second, on=["round", "prompt_group", "slot"])
    assert 0 < len(shared) < len(first)  # other prompts in a round
    assert (shared["answer_model_x"] != shared["answer_model_y"]).mean() > 0.5  # and other models for the same ones
