"""What is written and believed; test_kill_and_resume.py kills real processes."""

import json
import logging
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint import CheckpointException

from tests.training.tiny_runs import TinyRuns, finish, metrics, train_until, weights
from wsdm_arena.config import RunConfig
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.training.resume import ResumeStates
from wsdm_arena.training.run import RunDirectory, RunError

PLANNER = {"next_update": 0, "identity": "of a plan"}
PROGRESS = {"tokens": 7, "elapsed_s": 0.5}


@pytest.fixture
def config(tiny_runs: TinyRuns, request: pytest.FixtureRequest) -> RunConfig:
    return RunDirectory(tiny_runs.make(request.node.name[:60])).read_config()


@pytest.fixture
def context() -> Iterator[DistributedContext]:
    context = DistributedContext.from_environment(device="cpu", environment={})
    with context.process_group():
        yield context


@pytest.fixture
def states(tmp_path: Path, config: RunConfig, context: DistributedContext) -> ResumeStates:
    return ResumeStates(tmp_path / "state", config, context)


def save(states: ResumeStates, num_updates: int) -> None:
    tensors = {"weight": torch.full((3, 2), float(num_updates))}
    states.save(tensors, num_updates=num_updates, planner=PLANNER, progress=PROGRESS)


def load(states: ResumeStates) -> float:
    point = states.find()
    assert point is not None
    tensors = {"weight": torch.zeros(3, 2)}
    states.load(point, tensors)
    assert point.planner == PLANNER
    assert point.progress == PROGRESS
    return float(tensors["weight"][0, 0])


def keep(path: Path, states: ResumeStates, *num_updates: int) -> None:
    """Write several states and keep all of them, as if a process had died before deleting the older ones."""
    copies = path.parent / "copies"
    for number in num_updates:
        save(states, number)
        shutil.copytree(path / f"update-{number:06d}", copies / f"update-{number:06d}")
    shutil.rmtree(path)
    copies.rename(path)


def test_a_state_comes_back_as_it_was(states: ResumeStates) -> None:
    assert states.find() is None
    save(states, 4)
    assert load(states) == 4.0


def test_only_the_newest_state_is_kept(states: ResumeStates, tmp_path: Path) -> None:
    save(states, 4)
    save(states, 12)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["update-000012"]
    states.delete()
    assert not (tmp_path / "state").exists()


def test_the_newest_of_several_states_is_taken(states: ResumeStates, tmp_path: Path) -> None:
    keep(tmp_path / "state", states, 9, 10)
    assert load(states) == 10.0


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "no manifest", "manifest cut", "other format"])
def test_a_damaged_state_is_ignored_for_its_predecessor(
    states: ResumeStates, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    keep(tmp_path / "state", states, 1, 2)
    newest = tmp_path / "state/update-000002"
    data, manifest = newest / "__0_0.distcp", newest / "manifest.json"
    content = data.read_bytes()
    if damage == "truncated":
        data.write_bytes(content[:-1])
    elif damage == "changed":
        data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        data.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "manifest cut":
        manifest.write_bytes(manifest.read_bytes()[:40])
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    with caplog.at_level(logging.WARNING):
        assert load(states) == 1.0
    assert "ignoring damaged resume state" in caplog.text
    assert "update-000002" in caplog.text


def test_a_half_written_state_is_ignored_and_written_over(
    states: ResumeStates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(states, 1)
    partial = tmp_path / "state/update-000002.partial"
    partial.mkdir()
    (partial / "__0_0.distcp").write_bytes(b"half")
    with caplog.at_level(logging.WARNING):
        assert load(states) == 1.0
    assert "stopped while it was written" in caplog.text
    save(states, 2)
    assert load(states) == 2.0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["update-000002"]


def test_a_full_disk_is_said_to_be_full_and_the_state_before_stays(
    states: ResumeStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    save(states, 1)
    with monkeypatch.context() as failing:
        failing.setattr("torch.distributed.checkpoint.filesystem._write_item", fail)
        with pytest.raises(CheckpointException, match="unexpected pos"):  # of whatever else
            save(states, 2)
        full = type("Usage", (), {"free": 1 << 20})
        failing.setattr("wsdm_arena.training.resume.shutil.disk_usage", lambda path: full)
        with pytest.raises(RunError, match=r"state: the disk is full, .* make room and give the same command"):
            save(states, 3)
    assert load(states) == 1.0
    save(states, 4)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["update-000004"]


def test_a_state_of_another_run_is_refused_by_name(
    states: ResumeStates, config: RunConfig, context: DistributedContext, tmp_path: Path
) -> None:
    save(states, 1)
    foreign = config.model_copy(update={"fingerprint": "another"})
    with pytest.raises(RunError, match=rf"belongs to run {config.fingerprint}, but run.json describes run another"):
        ResumeStates(tmp_path / "state", foreign, context).find()


def test_generators_go_on_where_they_were(states: ResumeStates) -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    save(states, 1)

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    expected = draws()
    random.seed(6)
    np.random.seed(6)  # noqa: NPY002
    torch.manual_seed(6)
    assert draws() != expected
    load(states)
    assert draws() == expected


@pytest.mark.parametrize("optimizer", ["adamw", "stable_adamw"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_training_ends_bit_identically(tiny_runs: TinyRuns, optimizer: str, dtype: str) -> None:
    training = {"optimizer": {"name": optimizer}, "dtype": dtype, "checkpoint": {"every_updates": 4}}
    straight = finish(tiny_runs.make(f"straight{optimizer}{dtype}", training=training))
    broken = tiny_runs.make(f"broken{optimizer}{dtype}", training=training)
    train_until(broken, 6)
    assert [path.name for path in (broken / "state").iterdir()] == ["update-000004"]
    finish(broken)
    expected = weights(straight / "model")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(broken / "model").items())
    assert [record["update"] for record in metrics(broken)] == list(range(1, 10))
    assert [record["loss"] for record in metrics(broken)] == [record["loss"] for record in metrics(straight)]
    assert [record["tokens"] for record in metrics(broken)] == [record["tokens"] for record in metrics(straight)]


def test_a_state_is_written_when_its_time_has_come(tiny_runs: TinyRuns) -> None:
    run = tiny_runs.make("minutes", training={"checkpoint": {"every_minutes": 1e-9}})
    train_until(run, 3)
    assert [path.name for path in (run / "state").iterdir()] == ["update-000002"]


def test_a_state_of_other_battles_is_refused(tiny_runs: TinyRuns) -> None:
    run = tiny_runs.make("swapped", training={"checkpoint": {"every_updates": 2}})
    train_until(run, 3)
    config = json.loads((run / "run.json").read_text())
    config["judge"]["training"]["battles_per_update"] = 4
    (run / "run.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="the saved position belongs to another plan"):
        finish(run)


def test_predictions_are_made_again_from_the_saved_judge(tiny_runs: TinyRuns) -> None:
    run = finish(tiny_runs.make("scored"))
    predictions = (run / "predictions.parquet").read_bytes()
    saved = {path: path.stat().st_mtime_ns for path in (run / "model").iterdir()}
    (run / "complete.json").unlink()
    (run / "predictions.parquet").unlink()
    finish(run)
    assert (run / "predictions.parquet").read_bytes() == predictions
    assert {path: path.stat().st_mtime_ns for path in (run / "model").iterdir()} == saved


def test_a_judge_of_another_run_is_refused_by_name(tiny_runs: TinyRuns) -> None:
    run = finish(tiny_runs.make("theirs"))
    ours = tiny_runs.make("ours")
    shutil.copytree(run / "model", ours / "model")
    with pytest.raises(RunError, match=r"model belongs to run theirs.*describes run ours"):
        finish(ours)
