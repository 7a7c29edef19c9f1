"""The notebooks, from top to bottom, on a finished run."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.notebooks.execution import NOTEBOOKS, run_notebook

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

NO_KEDRO_NO_NETWORK = """
import importlib.abc, socket, sys

class NoKedro(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kedro", "kedro_datasets", "kedro_viz"):
            raise ImportError(f"{name} was asked for")

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")

sys.meta_path.insert(0, NoKedro())
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}


def newest(folder: Path) -> Path:
    return max(folder.iterdir()) / folder.name


@pytest.mark.parametrize("cwd", [PROJECT, NOTEBOOKS], ids=["project", "notebooks"])
def test_the_tour_of_a_run(finished, tmp_path, cwd):
    said = run_notebook(
        "01_tour_of_a_run.ipynb",
        cwd=cwd,
        parameters={"data_root": str(finished.data_root)},
        results={
            "judge": "judge",
            "seen": "bool(whole.loc[judge, 'seen_in_training'])",
            "accuracy": "[float(judged['is_right'].mean()), float(whole.loc[judge, 'accuracy'])]",
            "figure": "type(catalog.load(f'{judge}.reliability_plot')).__name__",
            "swap": "swap",
            "bundle": "bundle",
            "stored": "stored.tolist()",
        },
        keep=tmp_path,
    )
    assert f"{said['judge']}.predictions" in said["stored"]
    assert not said["seen"]
    ours, scoreboard = said["accuracy"]
    assert ours == pytest.approx(scoreboard)
    assert said["figure"] == "Figure"
    assert said["bundle"] in {
        f"{stage}.{judge}.bundle" for stage in ("student", "final") for judge in ("gemma", "llama")
    }
    first, second = said["swap"]["A wins, A shown first"], said["swap"]["A wins, B shown first"]
    assert 0 < first < 1
    assert 0 < second < 1
    assert said["swap"]["gap"] == pytest.approx(abs(first - second))


@pytest.fixture(scope="module")
def offline(finished, tmp_path_factory) -> Path:
    """What is carried to a machine without network, the small wheels aside."""
    folder = tmp_path_factory.mktemp("offline") / "packed"
    command = [sys.executable, "scripts/offline.py", "--data-root", finished.data_root, "--output", folder]
    subprocess.run([*command, "--no-download"], cwd=PROJECT, env=finished.env, check=True)
    return folder


def compete(finished, offline: Path, keep: Path, **parameters) -> tuple[dict, pd.DataFrame]:
    """Run the notebook away from the project; what it brought back, and the submission that it wrote."""
    raw = finished.data_root / "01_raw"
    files = {
        "offline": str(offline),
        "test_file": str(raw / "test.parquet"),
        "sample_file": str(raw / "sample_submission.csv"),
        "output": str(keep / "submission.csv"),
    }
    said = run_notebook(
        "03_offline_competition.ipynb",
        cwd=keep,
        parameters=files | parameters,
        results={
            "package": "wsdm_arena.__file__",
            "devices": "list(devices)",
            "decided_by": "result.verdicts['decided_by'].value_counts().to_dict()",
            "kedro": "[name for name in sys.modules if name.startswith('kedro')]",
        },
        keep=keep,
        first=NO_KEDRO_NO_NETWORK,
        env=NO_INDEX,
    )
    return said, pd.read_csv(keep / "submission.csv", dtype="str")


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")], ids=["one-device", "layers-split"])
def test_the_offline_competition_submits_what_the_pipeline_submits(finished, offline, tmp_path, devices):
    said, submission = compete(finished, offline, tmp_path, devices=devices, time_budget_s=None)
    assert not said["package"].startswith(str(PROJECT))
    assert said["kedro"] == []
    assert said["devices"] == list(devices)
    sample = pd.read_csv(finished.data_root / "01_raw" / "sample_submission.csv", dtype="str")
    assert submission["id"].tolist() == sample["id"].tolist()
    piped = newest(finished.data_root / "07_model_output" / "submission" / "final" / "submission.csv")
    pd.testing.assert_frame_equal(submission, pd.read_csv(piped, dtype="str"))
    assert "both" in said["decided_by"]
    assert set(said["decided_by"]) <= {"both", "gemma"}  # a judge that was hardly trained may be unsure of every pair


def test_without_time_every_id_has_a_winner_all_the_same(finished, offline, tmp_path):
    said, submission = compete(finished, offline, tmp_path, time_budget_s=0.001)
    assert set(said["decided_by"]) == {"fallback"}
    assert set(submission["winner"]) <= {"model_a", "model_b"}
    sample = pd.read_csv(finished.data_root / "01_raw" / "sample_submission.csv", dtype="str")
    assert submission["id"].tolist() == sample["id"].tolist()


def test_what_judging_needs_is_measured_and_kedro_is_no_part_of_it(offline):
    names = {line.partition(">")[0].partition("<")[0] for line in (offline / "requirements.txt").read_text().split()}
    assert {"torch", "transformers", "langcodes"} <= names
    assert not {name for name in names if name.startswith("kedro")}
    assert json.loads((offline / "cascade.json").read_text())["judges"] == ["gemma", "llama"]
    assert {path.name for path in (offline / "bundles").iterdir()} == {"gemma", "llama"}
