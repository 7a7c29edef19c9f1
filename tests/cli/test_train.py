"""The command that trains a judge on files of votes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from wsdm_arena.cli.train import train
from wsdm_arena.config import SimulationConfig
from wsdm_arena.config.own_training import DEFAULTS, OwnTrainingConfig, resolve_own_training
from wsdm_arena.own_training.results import TrainedJudge
from wsdm_arena.simulation import simulate_arena
from wsdm_arena.simulation.backbones import BACKBONES

PROJECT = Path(__file__).parents[2]
ROW = {"judge": "judge", "stage": "own", "num_pairs": 12, "accuracy": 0.75, "accuracy_low": 0.5, "accuracy_high": 0.9}
ROW |= {"log_loss": 0.6, "ece": 0.1, "flip_rate": 0.25}
REPORT = {"num_rows": 62, "num_battles": 60, "num_prompts": 59, "dropped": {"the answers are identical": 2}}
REPORT |= {"left_out": {}, "repaired": {}}


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What the library was asked for; nothing is trained."""
    calls = []

    def note(battles, output, **options):
        calls.append({"battles": battles, "output": output, **options})
        baseline = {**ROW, "judge": "longer_wins", "stage": "baseline", "flip_rate": None}
        return TrainedJudge(output, (ROW, baseline), {"temperature": 1.5, "note": ""}, REPORT, Path("run"))

    monkeypatch.setattr("wsdm_arena.own_training.train.train_judge", note)
    return calls


def call(*options: str) -> str:
    result = CliRunner().invoke(train, ["--battles", "a.csv", "-o", "mine", *options])
    assert result.exit_code == 0, result.output
    return result.output


def config_of(asked: list[dict]) -> OwnTrainingConfig:
    return asked[-1]["config"]


def test_without_options_the_defaults_hold(asked):
    call("--backbone", "owner/model")
    assert config_of(asked) == OwnTrainingConfig(judge={"backbone": {"source": "owner/model"}})


def test_every_option_reaches_its_parameter(asked):
    call(
        *("--battles", "b/*.parquet", "--backbone", "owner/model", "--revision", "abc", "--name", "mine"),
        *("--head", "linear", "--no-system-role", "--epochs", "3", "--learning-rate", "1e-5"),
        *("--battles-per-update", "8", "--max-battles", "100", "--max-battle-tokens", "1024"),
        *("--max-tokens-per-micro-batch", "4096", "--dtype", "float32", "--device", "cpu", "--processes", "2"),
        *("--tie-policy", "class", "--folds", "10", "--held-out-fold", "9", "--seed", "5", "--work-dir", "work"),
    )
    config = config_of(asked)
    assert asked[0]["battles"] == ["a.csv", "b/*.parquet"]
    assert asked[0]["work_dir"] == Path("work")
    backbone = config.judge.backbone
    assert (backbone.source, backbone.revision, config.name, config.seed) == ("owner/model", "abc", "mine", 5)
    assert (config.judge.head.kind, config.judge.system_role) == ("linear", False)
    training = config.training
    assert (training.epochs, training.optimizer.peak_learning_rate, training.dtype) == (3, 1e-5, "float32")
    assert (training.battles_per_update, training.max_battles, training.max_tokens_per_micro_batch) == (8, 100, 4096)
    assert config.truncation.max_battle_tokens == 1024
    assert (config.launcher.device, config.launcher.processes_per_node) == ("cpu", 2)
    preferences = config.preferences
    assert (preferences.tie_policy, preferences.num_folds, preferences.held_out_fold) == ("class", 10, 9)


def test_options_win_over_the_file_and_the_file_over_defaults(asked, tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text("training: { epochs: 2, optimizer: { name: stable_adamw } }\njudge: { sliding_window: false }\n")
    call("--backbone", "owner/model", "--epochs", "4", "--config", str(file))
    config = config_of(asked)
    assert (config.training.epochs, config.training.optimizer.name) == (4, "stable_adamw")
    assert config.judge.sliding_window is False
    assert config.training.battles_per_update == OwnTrainingConfig().training.battles_per_update


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: { epoch: 2 }", "mine.yml: training.epoch: there is no such key; is it misspelt? (got '2')"),
        ("judge: { head: { dropout: 2 } }", "mine.yml: judge.head.dropout: Input should be less than 1 (got '2')"),
        ("training: 3", "mine.yml: training: Input should be a valid dictionary"),
        ("- a list", "holds a list, not parameters by their names"),
        ("a: [", "cannot be read as YAML"),
        ("preferences: { num_folds: 3, held_out_fold: 3 }", "preferences: held_out_fold=3 does not exist"),
    ],
)
def test_a_mistake_in_the_file_is_named_by_file_and_path(asked, tmp_path, content, message):
    file = tmp_path / "mine.yml"
    file.write_text(content)
    result = CliRunner().invoke(train, ["--battles", "a.csv", "-o", "mine", "--config", str(file)])
    assert result.exit_code == 1
    assert message in result.output
    assert not asked


def test_all_mistakes_are_named_at_once(asked):
    options = ["--backbone", "owner/model", "--epochs", "0", "--learning-rate", "-1", "--name", "My Judge"]
    result = CliRunner().invoke(train, ["--battles", "a.csv", "-o", "mine", *options])
    assert result.exit_code == 1
    for place in ("training.epochs", "training.optimizer.peak_learning_rate", "name"):
        assert f"the options: {place}: " in result.output


def test_the_end_says_how_good_the_judge_is_and_how_to_use_it(asked):
    shown = call("--backbone", "owner/model")
    assert "60 battles of 62 rows" in shown
    assert "dropped: 2 (the answers are identical)" in shown
    assert re.search(r"judge +0\.750 +0\.500 to 0\.900 +0\.600 +0\.100 +25\.0%", shown)
    assert re.search(r"longer wins +0\.750", shown)
    assert "python -m wsdm_arena judge --bundle mine" in shown
    assert 'Judge.load("mine")' in shown


def test_the_line_of_python_at_the_end_holds_for_any_place(asked):
    place = 'it\'s my "judge" $HOME'
    result = CliRunner().invoke(train, ["--battles", "a.csv", "-o", place, "--backbone", "owner/model"])
    (line,) = (line for line in result.output.splitlines() if line.startswith("  python -c "))
    _, _, code = shlex.split(line)
    compile(code, "shown", "exec")
    assert f"Judge.load({json.dumps(place)})" in code


def test_an_output_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "votes.csv").write_text("prompt,response_a,response_b,winner\n" + "p,a,b,model_a\n")
    options = ["--battles", str(tmp_path / "votes.csv"), "-o", "/proc/x/out", "--backbone", str(BACKBONES / "llama")]
    result = CliRunner().invoke(train, options)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("Error: ")
    assert "/proc/x" in result.output


def test_errors_of_the_library_speak_of_options(tmp_path):
    result = CliRunner().invoke(train, ["--battles", str(tmp_path), "-o", str(tmp_path / "mine"), "--backbone", "x/y"])
    assert result.exit_code == 1
    assert "Error: " in result.output
    (tmp_path / "votes.csv").write_text("prompt,response_a,response_b,winner\n" + "p,a,b,model_a\n")
    (tmp_path / "backbone").mkdir()
    options = ["--battles", str(tmp_path / "votes.csv"), "-o", str(tmp_path / "mine")]
    result = CliRunner().invoke(train, [*options, "--backbone", str(tmp_path / "backbone")])
    assert result.exit_code == 1
    assert "has no config.json" in result.output
    assert "<judge>" not in result.output


def test_the_file_and_the_differences_that_the_page_shows_are_those_of_the_code(asked):
    page = (PROJECT / "docs" / "training.md").read_text()
    (example,) = re.findall(r"```yml\n(.*?)```", page, re.DOTALL)
    config = resolve_own_training({"page": yaml.safe_load(example)})
    assert (config.training.epochs, config.judge.truncation, config.preferences.tie_policy) == (2, "per_field", "half")
    for section, values in DEFAULTS.items():
        for key, value in values.items():
            written = {"checkpoint": "10", "max_tokens_per_micro_batch": "8,192", "layouts": "plain"}
            shown = written.get(key, str(value))
            name = f"{section}.{key}" + (".every_minutes" if key == "checkpoint" else "")
            assert re.search(rf"\| `{name}` \| `?{re.escape(shown)}`? \|", page), name


def test_help_shows_defaults_and_imports_neither_torch_nor_kedro():
    source = (
        "import sys\n"
        "from wsdm_arena.cli.train import train\n"
        "try: train(['--help'])\n"
        "finally: assert not {'torch', 'kedro', 'transformers'} & set(sys.modules), sorted(sys.modules)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", source], env={**os.environ, "COLUMNS": "120"}, capture_output=True, text=True, check=True
    ).stdout
    assert "\\" not in shown
    flat = " ".join(shown.split())
    for option, default in (("--epochs", "1"), ("--learning-rate", "2.5e-06"), ("--folds", "5"), ("--seed", "3")):
        assert re.search(rf"{option} .*?\[default: {re.escape(default)}\]", flat)
    assert "python -m wsdm_arena train --battles votes.csv --backbone" in shown


@pytest.mark.slow
def test_killed_without_kedro_the_same_command_goes_on_and_ends_as_if_nothing_had_been(tmp_path):
    """No process of it may import Kedro; the first is killed by SIGKILL after a few updates."""
    blocked = tmp_path / "blocked" / "kedro"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('Kedro is not needed here')")
    environment = {**os.environ, "PYTHONPATH": str(blocked.parent), "OMP_NUM_THREADS": "1"}
    votes = tmp_path / "votes.csv"
    simulate_arena(SimulationConfig(num_battles=80, num_test_pairs=1)).train_table.to_csv(votes, index=False)
    sample = yaml.safe_load((PROJECT / "conf/sample/parameters.yml").read_text())
    file = tmp_path / "mine.yml"
    training = {"dtype": "float32", "battles_per_update": 4, "checkpoint": {"every_updates": 1}, "epochs": 2}
    file.write_text(yaml.safe_dump({"template": sample["template"], "training": training}))

    def command(name: str) -> list[str]:
        given = ["--battles", str(votes), "--backbone", str(BACKBONES / "gemma"), "-o", str(tmp_path / name)]
        more = ["--config", str(file), "--max-battle-tokens", "128", "--device", "cpu"]
        return [sys.executable, "-m", "wsdm_arena", "train", *given, *more]

    kill_after_an_update(command("killed"), environment, tmp_path / "killed.work")
    finished = subprocess.run(command("killed"), env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3_000:]
    assert "own.judge: resuming run" in finished.stderr
    assert "goes on after update" in finished.stderr
    straight = subprocess.run(command("straight"), env=environment, capture_output=True, text=True)
    assert straight.returncode == 0, straight.stderr[-3_000:]
    assert "own.judge: starting run" in straight.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "straight"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    again = subprocess.run(command("killed"), env=environment, capture_output=True, text=True)
    assert again.returncode == 0
    assert "There already" in again.stdout
    assert again.stdout.splitlines()[1:] == finished.stdout.splitlines()[1:]


def kill_after_an_update(command: list[str], environment: dict[str, str], work: Path) -> None:
    """Kill the command with SIGKILL once it has written a resume state; all it started must end with it."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(work.glob("runs/*/*/state/update-*[0-9]/manifest.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert not list(work.glob("runs/*/*/complete.json"))


def test_ctrl_c_says_that_the_same_command_goes_on(monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsdm_arena.own_training.train.train_judge", interrupt)
    ended = CliRunner().invoke(train, ["--battles", "a.csv", "-o", "mine", "--backbone", "owner/model"])
    assert ended.exit_code == 130
    assert ended.output == (
        "Stopped. The same command goes on from the last state that was saved "
        "(every training.checkpoint.every_minutes).\n"
    )
