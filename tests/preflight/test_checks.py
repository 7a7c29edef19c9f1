import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession

from wsdm_arena.preflight import PreflightError, describe_run_context, find_problems, require_runnable

PROJECT = Path(__file__).parents[2]


def test_all_that_stands_in_the_way_is_said_in_one_message(plan, gpus, tmp_path):
    gpus(80)
    run = plan(env="a100")
    run = replace(run, options=run.options | {"runner": "ThreadRunner", "runtime_params": {"data_root": str(tmp_path)}})
    with pytest.raises(PreflightError) as refusal:
        require_runnable(run, more={"gaps": ["a gap"], "nothing": []})
    message = refusal.value.message
    headings = [line for line in message.splitlines() if not line.startswith("  ")]
    assert headings == [
        "nothing was run",
        "this runner cannot be used:",
        "inputs are missing:",
        "devices do not suffice:",
        "attention kernels are missing:",
        "gaps:",
        f"Give these commands this one's options, too: --env a100 --params data_root={tmp_path}",
    ]
    for part in ("  ThreadRunner: trainings share", "  train_table: ", "  raw_checkpoint.llama: ", "  a gap"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_starts_nothing_and_shows_no_traceback(plan, tmp_path):
    session = KedroSession.create(PROJECT, runtime_params={"data_root": str(tmp_path)}, save_on_close=False)
    with session, pytest.raises(PreflightError, match="inputs are missing") as refusal:
        session.run(pipeline_names=["finetuning"])
    assert "battles (" in refusal.value.message
    assert "kedro run --pipelines data_processing" in refusal.value.message
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_nothing_is_said_of_a_run_that_can_begin(plan):
    run = plan(pipeline="simulated_arena")
    assert find_problems(run) == {}
    require_runnable(run)


@pytest.mark.parametrize("runner", ["ParallelRunner", "ThreadRunner"])
def test_runners_that_run_several_nodes_at_once_are_refused(plan, runner):
    run = plan(pipeline="simulated_arena")
    (lines,) = find_problems(replace(run, options=run.options | {"runner": runner})).values()
    assert lines == [f"{runner}: trainings share the same devices; run without --runner"]


def test_what_is_up_to_date_needs_no_device_and_no_kernel(plan, gpus):
    gpus()
    run = plan(env="a100")
    assert "devices do not suffice" in find_problems(run)
    assert set(find_problems(replace(run, to_run=frozenset()))) == {"inputs are missing"}


def test_the_command_repeats_the_run():
    options = {
        "run_id": "now",
        "env": "a100",
        "namespaces": ["teacher.gemma"],
        "load_versions": {"x": "v"},
        "runtime_params": {"data_root": "a b", "training": {"epochs": 2, "max_battles": None}},
    }
    assert describe_run_context(options, "a100") == {
        "run_id": "now",
        "env": "a100",
        "command": (
            "kedro run --env a100 --namespaces teacher.gemma --load-versions x:v --params "
            "'data_root=a b,training.epochs=2,training.max_battles=null'"
        ),
    }


def test_it_imports_no_torch():
    source = "import sys, wsdm_arena.preflight, wsdm_arena.hooks; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert ran.stdout.strip() == "False"
