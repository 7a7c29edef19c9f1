"""Promises of the project as a whole: what is imported when, what is pinned, what the commands do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def loads_torch(module: str) -> bool:
    """Whether a fresh interpreter has torch after importing ``module``."""
    source = f"import sys, {module}; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)
    return ran.stdout.strip() == "True"


@pytest.mark.parametrize(
    "module",
    [
        "wsdm_arena",
        "wsdm_arena.config",
        "wsdm_arena.preferences",
        "wsdm_arena.processes",
        "wsdm_arena.prompts",
        "wsdm_arena.runs",
        "wsdm_arena.settings",
        "wsdm_arena.pipeline_registry",
    ],
)
def test_importing_it_does_not_load_torch(module):
    assert not loads_torch(module)


def test_the_import_probe_sees_torch():
    assert loads_torch("wsdm_arena.modeling.judge")


def test_telemetry_is_off():
    assert (ROOT / ".telemetry").read_text().strip() == "consent: false"


def make(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    ran = subprocess.run(["make", *arguments], capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    return ran.stdout


def test_make_lists_every_command():
    commands = [
        "help",
        "setup",
        "run",
        "test",
        "test-vllm",
        "check",
        "small-llm",
        "flash-attn",
        "vllm",
        "viz",
        "notebook",
    ]
    commands += ["offline", "strip", "bench", "docs", "backbones", "constraints", "clean-env"]
    listed = [line.split()[0] for line in make().splitlines() if line.startswith("  ")]
    assert listed[: len(commands)] == commands


def test_make_run_simulates_an_arena_before_it_trains():
    assert make("-n", "run").splitlines()[1:] == [
        ".venv/bin/kedro run --pipelines simulated_arena",
        ".venv/bin/kedro run",
    ]


def test_make_run_takes_ones_own_battles_and_keeps_them_apart():
    *_, first, last = make("-n", "run", "BATTLES=a.parquet b.csv").splitlines()
    assert first == ".venv/bin/kedro run --pipelines simulated_checkpoints --params data_root=data/own"
    assert last == (
        'exec .venv/bin/kedro run --params "data_root=data/own,raw.train=a.parquet;b.csv,roster.students=[]"'
    )


def test_make_run_installs_what_small_language_models_need():
    lines = make("-n", "run", "ENV=small_llm").splitlines()
    assert lines[-2:] == [
        ".venv/bin/kedro run --pipelines simulated_arena --env small_llm",
        ".venv/bin/kedro run --env small_llm",
    ]
    assert any("scripts/vllm" in line for line in lines)
    assert any("small_llm.py" in line for line in lines)
    own = make("-n", "run", "ENV=small_llm", "BATTLES=a.csv").splitlines()
    params = "data_root=data/own_small_llm,raw.train=a.csv,roster.students=[]"
    assert own[-1] == f'exec .venv/bin/kedro run --env small_llm --params "{params}"'
    assert not any("scripts/vllm" in line for line in own)  # without conversations nobody answers


@pytest.mark.parametrize(
    ("argument", "message"),
    [("BATTLE=a.csv", "there is no variable BATTLE; known: BATTLES"), ("TEST=t.csv", "TEST, .* stand beside BATTLES")],
)
def test_make_refuses_variables_that_would_be_passed_over(argument, message):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make("-n", "run", argument)
    assert re.search(message, refused.value.stderr)


def test_make_run_goes_through_the_whole_recipe_where_there_are_pairs_to_label():
    own = ("BATTLES=a.parquet", "TEST=t.csv", "COLLECTED=c d", "CONVERSATIONS=e", "DATA_ROOT=data/mine", "ENV=a100")
    assert make("-n", "run", *own).splitlines()[1:] == [
        'exec .venv/bin/kedro run --env a100 --params "data_root=data/mine,raw.train=a.parquet,raw.test=t.csv,'
        'raw.collected_pairs=c;d,raw.conversations=e"'
    ]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the constraints were tried together on Python 3.11")
def test_everything_the_project_requires_is_pinned():
    script = [sys.executable, str(ROOT / "scripts" / "constraints.py")]
    required = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    names = {line.partition("==")[0] for line in required.splitlines() if "==" in line}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {"kedro", "torch", "ruff", "ipykernel"} <= names
    assert names == pinned, "run `make constraints`"
