import json
import logging
import struct

import pytest

from wsdm_arena.preflight.backbones import count_parameters
from wsdm_arena.preflight.launcher import check_launcher, check_submission_devices, state_bytes

CUDA = {"processes_per_node": 4, "device": "cuda", "backend": "nccl"}


def write_weights(folder, num_parameters: int) -> None:
    """A backbone whose headers promise so many weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    half = num_parameters // 2
    for name, shape in (("model-1", [half // 10, 10]), ("model-2", [num_parameters - half // 10 * 10])):
        header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": "BF16", "shape": shape}}).encode()
        (folder / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.mark.parametrize("launcher", [CUDA, CUDA | {"device": "auto"}])
def test_fewer_gpus_than_processes_are_refused(plan, gpus, launcher):
    gpus(80, 80)
    (problem,) = check_launcher(plan(["teacher.gemma.train"], launcher=launcher))
    assert "launcher.processes_per_node=4: each process needs a GPU, this machine has 2; set it to at most 2" in problem
    gpus(80, 80, 80, 80)
    assert check_launcher(plan(["teacher.gemma.train"], launcher=launcher)) == []


def test_gpus_are_asked_for_only_by_what_runs_on_them(plan, gpus):
    gpus()
    assert check_launcher(plan(["teacher.gemma.select"], launcher=CUDA)) == []
    (problem,) = check_launcher(plan(["collected_labels.gemma.score"], launcher=CUDA | {"scoring_processes": 2}))
    assert problem.startswith(
        "launcher.scoring_processes=2: each process needs a GPU, this machine has 0; set launcher"
    )


def test_processes_that_start_elsewhere_are_not_checked(plan, gpus, caplog):
    gpus()
    with caplog.at_level(logging.INFO):
        assert check_launcher(plan(["teacher.gemma.train"], launcher=CUDA | {"prefix": ["srun"]})) == []
    assert "GPUs and cores are not checked" in caplog.text


def test_more_processes_than_cores_are_warned_of(plan, gpus, caplog):
    gpus(80)
    run = plan(["teacher.gemma.train"], launcher={"processes_per_node": 4096, "device": "cpu"})
    assert check_launcher(run) == []
    assert "launcher.processes_per_node=4096, but there are" in caplog.text


def test_where_there_may_be_none_a_cpu_does(plan, gpus):
    gpus()
    assert check_launcher(plan(["teacher.gemma.train"], launcher={"device": "auto"})) == []


def test_weights_are_counted_from_headers(tmp_path):
    write_weights(tmp_path / "gemma", 12_345_678)
    assert count_parameters(tmp_path / "gemma") == 12_345_678
    (tmp_path / "gemma" / "model-3.safetensors").write_bytes(b"\xff" * 9)
    assert count_parameters(tmp_path / "gemma") is None
    assert count_parameters(tmp_path) is None


@pytest.mark.parametrize("place", ["01_raw/checkpoints/gemma", "06_models/backbones/gemma"])
def test_a_judge_too_large_for_its_gpus_is_refused_with_numbers(plan, gpus, tmp_path, place, caplog):
    write_weights(tmp_path / place, 10**10)
    run = plan(["teacher.gemma.train"], env="a100")
    # 10 bytes for each of 10^10 weights over four GPUs, and 2 for all of them on each.
    assert state_bytes(run.trained[0], 10**10, 4) == 45 * 10**9
    gpus(40, 80, 80, 80)
    (problem,) = check_launcher(run)
    assert "teacher.gemma: 10.00 billion weights in bfloat16" in problem
    assert "41.9 GiB on each of 4 GPUs, activations aside; the smallest has 40.0 GiB" in problem
    gpus(80, 80, 80, 80)
    assert check_launcher(run) == []
    assert caplog.text == ""
    gpus(44, 80, 80, 80)
    assert check_launcher(run) == []
    assert "the smallest has 44.0 GiB: it may not be enough" in caplog.text


def test_what_training_takes_depends_on_type_and_sharding(plan):
    full = plan(["teacher.gemma.train"], env="a100", training={"sharding": "full"})
    assert state_bytes(full.trained[0], 1000, 4) == 2500
    assert state_bytes(full.trained[0], 1000, 1) == 10_000
    single = plan(["teacher.gemma.train"])  # float32, two processes
    assert state_bytes(single.trained[0], 1000, 2) == 8000 + 4000


def test_devices_of_the_submission_must_be_there(plan, gpus):
    gpus(80)
    split = {"devices": ["cuda:0", "cuda:1"]}
    (problem,) = check_submission_devices(plan(["submission.final.judge"], submission=split))
    assert problem == "submission.devices=['cuda:0', 'cuda:1']: this machine has 1; name others, or [auto]"
    assert check_submission_devices(plan(["submission.final.plan"], submission=split)) == []
    gpus(80, 80)
    assert check_submission_devices(plan(["submission.final.judge"], submission=split)) == []
    assert check_submission_devices(plan(["submission.final.judge"], submission={"devices": ["auto"]})) == []
