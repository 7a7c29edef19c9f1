"""``kedro run`` on the simulated arena, from raw files to the scoreboard."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

TEACHERS = ("gemma", "gemma_large", "llama")


def scoreboard(project) -> list[dict]:
    return json.loads((project.data_root / "08_reporting" / "scoreboard.json").read_text())


def newest(folder: Path) -> Path:
    return max(folder.iterdir()) / folder.name


def test_the_scoreboard_has_every_judge_and_baseline_with_an_interval(finished):
    rows = scoreboard(finished)
    names = {(row["stage"], row["judge"]) for row in rows}
    assert {("teacher", judge) for judge in TEACHERS} <= names
    assert {("teacher.start", judge) for judge in TEACHERS} <= names
    assert {("baseline", name) for name in ("longer_wins", "tfidf", "majority", "ceiling")} <= names
    for row in rows:
        assert 0 <= row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] <= 1, row
        assert row["num_pairs"] > 0
    flaws = {row["dataset"] for row in rows if row["stage"] == "teacher"}
    for flaw in ("wrong_language", "cut_off", "off_topic", "wrong_result", "refusal"):
        assert any(flaw in dataset for dataset in flaws), flaw


def test_predictions_hold_every_held_out_pair_once_an_order(finished):
    battles = pd.read_parquet(finished.data_root / "03_primary" / "battles.parquet")
    held_out = set(battles.loc[battles["fold"] == 0, "pair_id"])
    for judge in TEACHERS:
        path = newest(finished.data_root / "07_model_output" / "teacher" / judge / "predictions.parquet")
        predictions = pd.read_parquet(path)
        assert set(predictions["pair_id"]) == held_out
        assert len(predictions) == 2 * len(held_out)
        assert not predictions.duplicated(["pair_id", "order"]).any()


def test_a_checkpoint_version_is_hard_links(finished):
    version = newest(finished.data_root / "06_models" / "teacher" / "llama" / "checkpoint")
    weights = version / "model.safetensors"
    assert weights.stat().st_nlink >= 2


def test_a_second_run_of_one_judge_trains_nothing(finished):
    done = finished.run("--namespaces", "teacher.gemma")
    assert "nothing to train" in done.stdout + done.stderr


def test_the_finetuning_pipeline_runs_alone(finished):
    done = finished.run("--pipeline", "finetuning")
    assert (done.stdout + done.stderr).count("nothing to train") == len(TEACHERS)


def test_missing_raw_files_are_named_with_the_command_that_makes_them(finished, tmp_path):
    elsewhere = type(finished)(tmp_path)
    done = elsewhere.run(check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "train_table" in said
    assert "simulated_arena" in said
    assert "raw.train" in said
    assert "Traceback" not in said
    assert not (tmp_path / "03_primary").exists()


def test_a_missing_checkpoint_input_names_the_pipeline_that_makes_it(finished, tmp_path):
    done = type(finished)(tmp_path).run("--pipeline", "finetuning", check=False)
    assert done.returncode != 0
    assert "kedro run --pipelines data_processing" in done.stdout + done.stderr


def test_a_misspelt_parameter_stops_the_run_in_one_line(finished):
    done = finished.run(check=False, **{"training.epoch": 3})
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "training.epoch" in said
    assert "Traceback" not in said


def test_predictions_load_in_a_notebook_kernel(finished):
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    code = [
        "%load_ext kedro.ipython",
        f"%reload_kedro . --params data_root={finished.data_root}",
        "predictions = catalog.load('teacher.gemma.predictions'); len(predictions)",
        "catalog.load('teacher.llama.checkpoint').joinpath('manifest.json').exists()",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in code])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(PROJECT)}}).execute()
    assert int(notebook.cells[2].outputs[-1]["data"]["text/plain"]) > 0
    assert notebook.cells[3].outputs[-1]["data"]["text/plain"] == "True"


def processes_of(data_root: Path) -> list[psutil.Process]:
    """Every live process that names this data root on its command line."""
    alive = []
    for process in psutil.process_iter():
        try:
            if str(data_root) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except psutil.Error:
            continue
    return alive


def num_logged_updates(run_dir: Path) -> int:
    metrics = run_dir / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


@pytest.mark.parametrize("stop_with", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_kedro_run_leaves_no_process_and_goes_on_later(finished, stop_with):
    seed = 1000 + stop_with
    runs = finished.data_root / "06_models" / ".runs" / "teacher.llama"
    before = set(runs.iterdir())
    params = {
        "seed": seed,
        "training.epochs": 6,
        "training.checkpoint.every_updates": 2,
        "training.log_every_updates": 1,
    }
    args = ("--namespaces", "teacher.llama")
    child = subprocess.Popen(
        finished.command(*args, **params),
        cwd=PROJECT,
        env=finished.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 180
    run_dir = None
    while time.monotonic() < deadline and child.poll() is None:
        new = set(runs.iterdir()) - before
        run_dir = next(iter(new), None)
        if run_dir and num_logged_updates(run_dir) > 4:
            break
        time.sleep(0.2)
    assert child.poll() is None, "the run ended before it could be stopped"
    assert len(processes_of(finished.data_root)) >= 4  # kedro, torchrun, two workers
    os.kill(child.pid, stop_with)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and processes_of(finished.data_root):
        child.poll()
        time.sleep(0.2)
    assert processes_of(finished.data_root) == []
    assert not (run_dir / "complete.json").exists()
    finished.run(*args, **params)
    assert (run_dir / "complete.json").exists()
    assert set(runs.iterdir()) - before == {run_dir}
    updates = [json.loads(line)["update"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert updates == sorted(set(updates))
