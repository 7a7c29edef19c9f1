"""`kedro plan` in the project."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project

from wsdm_arena.cli.plan import plan

PROJECT = Path(__file__).parents[2]
PLANNED = re.compile(r"(backbone\..*|(?!baseline\.).*\.(train|score|export|judge)|mine_prompts|generate_answers)")
"""Nodes that take disk or hours."""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``kedro plan`` with an empty data folder, in a copy of the configuration without anybody's own."""
    for name in ("conf", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    for own in (tmp_path / "conf/local").glob("*.y*ml"):
        own.unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEDRO_ENV", "sample")  # Kedro writes to it
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    bootstrap_project(PROJECT)
    return lambda *options: CliRunner().invoke(plan, list(options))


def test_every_node_that_takes_long_has_a_job(call: Callable[..., Result]) -> None:
    done = call("--env", "a100", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    nodes = {node.name for node in pipelines["__default__"].nodes}
    assert {job["node"] for job in found["jobs"]} == {node for node in nodes if PLANNED.fullmatch(node)}
    assert found["env"] == "a100"
    assert found["totals"]["gpu_hours"]["basis"] == "assumed"
    missing = "\n".join(found["missing"])
    for name in ("train_table", "test_table", "collected_pairs_table", "conversations", "raw_checkpoint.llama"):
        assert f"{name}: " in missing
    order = [job["name"] for job in found["jobs"]]
    recipe = ["teacher.gemma", "collected_labels.gemma", "student.gemma", "generation.phi4", "generated_labels.llama"]
    recipe += ["pretraining.gemma", "final.gemma", "export.final.gemma", "submission.final"]
    assert sorted(recipe, key=order.index) == recipe


def test_the_documentation_shows_what_the_command_prints(call: Callable[..., Result]) -> None:
    done = call("--env", "a100")
    assert done.exit_code == 0, done.output
    shown = "\n".join(line.rstrip() for line in done.stdout.partition("\n\ncommands:")[0].splitlines())
    assert "teacher.gemma_large" in shown
    assert shown in (PROJECT / "docs/plan.md").read_text()


def test_parameters_of_the_command_line_count(call: Callable[..., Result]) -> None:
    params = "launcher.processes_per_node=8,planning.device=h200,training.max_battles=1000"
    found = json.loads(call("--env", "a100", "--params", params, "--json").stdout)
    job = next(job for job in found["jobs"] if job["name"] == "teacher.gemma")
    assert (job["rows"]["value"], job["updates"]["value"], job["gpus"]) == (1000, 13, 8)
    assert found["memory_limit"] / 2**30 == pytest.approx(139.8)


def test_a_size_that_nobody_knows_is_one_message(call: Callable[..., Result]) -> None:
    done = call("--env", "a100", "--params", "planning.device=abacus")
    assert done.exit_code == 1
    assert "Error: planning.devices.abacus is not described" in done.output
    assert "Traceback" not in done.output


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    options = ["--env", "sample", "--params", f"data_root={tmp_path}"]
    command = [sys.executable, "-X", "importtime", "-m", "kedro", "plan", *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "plan of env sample" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "wsdm_arena.planning.plan" in imported
    assert "torch" not in imported
