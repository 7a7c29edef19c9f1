"""Parameters, FLOPs, memory and disk against published figures and real files."""

import json
import math
import shutil
from pathlib import Path

import pytest
import yaml

from tests.planning.tiny_project import configure, fill
from tests.training.tiny_runs import TinyRuns, finish, weights
from wsdm_arena.config import HeadConfig, PlanningConfig, TrainingConfig
from wsdm_arena.planning.backbones import JudgeSize, measure_judge
from wsdm_arena.planning.figures import Basis
from wsdm_arena.planning.memory import (
    resume_bytes_per_parameter,
    scoring_bytes,
    state_bytes_per_parameter,
    training_bytes,
)
from wsdm_arena.planning.places import DataFolder, PlanError
from wsdm_arena.planning.training_jobs import count_saves

BASE = Path(__file__).parents[2] / "conf/base/parameters_planning.yml"
GIB = 2**30


def reference() -> PlanningConfig:
    return PlanningConfig.model_validate(yaml.safe_load(BASE.read_text())["planning"])


def size_of(name: str, tmp_path: Path) -> JudgeSize:
    config = configure(
        judges={name: {"system_role": False, "head": {"kind": "linear"}}},
        planning={"backbones": {name: reference().backbones[name].model_dump()}},
    )
    return measure_judge(name, config, DataFolder(tmp_path))


@pytest.mark.parametrize(
    ("name", "billions", "forward_gflops", "states_gib"),
    [("gemma", 9.24, 17.3, 86), ("gemma_large", 27.23, 52.8, 254), ("llama", 7.50, 14.4, 70)],
)
def test_published_sizes(tmp_path: Path, name: str, billions: float, forward_gflops: float, states_gib: float) -> None:
    """Parameters as on the model cards (Llama's without its output layer); FLOPs and states worked out by hand."""
    size = size_of(name, tmp_path)
    assert size.basis == Basis.ASSUMED
    assert size.parameters / 1e9 == pytest.approx(billions, abs=0.01)
    assert size.forward_flops(1_860) / 1e9 == pytest.approx(forward_gflops, abs=0.1)
    states = state_bytes_per_parameter(TrainingConfig()) * size.parameters
    assert states / GIB == pytest.approx(states_gib, abs=1)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_a_backbone_on_disk_is_counted_and_its_configuration_agrees(
    tiny_runs: TinyRuns, tmp_path: Path, family: str
) -> None:
    backbone = tmp_path / "06_models/backbones/llama"
    shutil.copytree(tiny_runs.backbones[family], backbone)
    counted = measure_judge("llama", configure(), DataFolder(tmp_path))
    (backbone / "model.safetensors").unlink()
    computed = measure_judge("llama", configure(), DataFolder(tmp_path))
    assert (counted.basis, computed.basis) == (Basis.EXACT, Basis.ESTIMATED)
    assert counted.parameters == computed.parameters


def test_the_weights_of_a_trained_judge_are_as_many_as_planned(tiny_runs: TinyRuns, tmp_path: Path) -> None:
    run = finish(tiny_runs.make("sizes", training={"max_battles": 8}))
    size = measure_judge("llama", configure(), DataFolder(fill(tmp_path, tiny_runs)))
    assert size.parameters == sum(math.prod(tensor.shape) for tensor in weights(run / "model").values())


def test_a_judge_of_unknown_size_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"planning\.backbones\.llama does not say how large"):
        measure_judge("llama", configure(), DataFolder(tmp_path))
    broken = tmp_path / "06_models/backbones/llama"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text(json.dumps({"hidden_size": 8}))
    with pytest.raises(PlanError, match=r"config\.json lacks .*num_hidden_layers"):
        measure_judge("llama", configure(), DataFolder(tmp_path))


def test_states_and_resume_states_by_type() -> None:
    assert state_bytes_per_parameter(TrainingConfig()) == 10
    assert resume_bytes_per_parameter(TrainingConfig()) == 8
    single = TrainingConfig(dtype="float32")  # Kahan summation has no effect on it
    assert (state_bytes_per_parameter(single), resume_bytes_per_parameter(single)) == (16, 12)
    without = TrainingConfig.model_validate({"optimizer": {"kahan_summation": False}})
    assert (state_bytes_per_parameter(without), resume_bytes_per_parameter(without)) == (8, 6)


def test_memory_goes_where_the_settings_send_it(tmp_path: Path) -> None:
    size = size_of("gemma", tmp_path)

    def needed(processes: int = 4, **training) -> float:
        return (
            training_bytes(
                size, TrainingConfig.model_validate(training), processes=processes, longest=4_300, is_gpu=True
            )
            / GIB
        )

    assert needed() < 79 < needed(processes=1)
    assert needed(sharding="full") < needed() - 10  # the gathered weights
    assert needed(sharding="full", language_modeling_weight=0.1) > needed(sharding="full") + 0.7  # the embedding stays
    assert needed(activation_checkpointing=False) > needed() + 50
    assert needed(max_tokens_per_micro_batch=4_300) < needed()
    assert needed(max_tokens_per_micro_batch=100) == needed(max_tokens_per_micro_batch=4_300)  # the longest sequence
    assert needed(battles_per_update=4) < needed()  # 8 sequences for 4 processes never fill a micro-batch
    assert needed(gradient_reduction_dtype="bfloat16") < needed()
    assert scoring_bytes(size, "bfloat16", tokens=8_192, is_gpu=True) / GIB == pytest.approx(17.2 + 2 + 1.6, abs=1)


def test_the_27b_needs_its_small_micro_batches(tmp_path: Path) -> None:
    size = size_of("gemma_large", tmp_path)
    recipe = {"sharding": "full", "gradient_reduction_dtype": "bfloat16"}
    small, large = (
        training_bytes(
            size,
            TrainingConfig.model_validate(recipe | {"max_tokens_per_micro_batch": tokens}),
            processes=4,
            longest=4_300,
            is_gpu=True,
        )
        / GIB
        for tokens in (2_048, 16_384)
    )
    assert small < 79.2 < 80 < large


def test_heads_are_counted() -> None:
    from wsdm_arena.planning.backbones import count_head_parameters

    assert count_head_parameters(HeadConfig(), 32, 2) == 32 * 16 + 16 + 16 * 2 + 2
    assert count_head_parameters(HeadConfig(kind="linear"), 32, 3) == 96


@pytest.mark.parametrize(
    ("checkpoint", "saves"),
    [({"every_minutes": None}, 0), ({"every_minutes": 30}, 5), ({"every_minutes": None, "every_updates": 10}, 9)],
)
def test_saves_are_counted(checkpoint: dict[str, float | None], saves: int) -> None:
    training = TrainingConfig.model_validate({"checkpoint": checkpoint})
    assert count_saves(training, updates=100, hours=2.6) == saves
    assert count_saves(training, updates=1, hours=2.6) == 0  # the end needs no state to go on from
