"""The same seed gives the same judges, verdicts and scores from scratch; another seed gives other draws."""

import json
from pathlib import Path

import pandas as pd
import pytest

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


def test_from_scratch_with_the_same_seed_everything_is_the_same(finished, tmp_path):
    again = type(finished)(tmp_path)
    again.run("--pipelines", "simulated_arena")
    again.run()
    assert submissions(again.data_root) == submissions(finished.data_root)
    for stage in ("student", "final"):
        pd.testing.assert_frame_equal(verdicts(again.data_root, stage), verdicts(finished.data_root, stage))
    assert scores(again.data_root) == scores(finished.data_root)
    assert len(scores(again.data_root)) > 100


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
