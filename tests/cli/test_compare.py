"""`kedro compare` in the project."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from wsdm_arena.cli.compare import compare
from wsdm_arena.runs.ledger import Ledger, NodeRecord, Stored

PROJECT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = (f"2026-01-0{number}T00.00.00.000Z" for number in range(1, 4))

Command = Callable[..., Result]


def ids(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


class Runs:
    """A data folder in which one judge was trained twice."""

    def __init__(self, data: Path) -> None:
        self.data = data
        (data / "03_primary").mkdir(parents=True)
        battles = {"pair_id": ids(100), "fold": 0, "probability_a": 1.0, "probability_b": 0.0}
        pd.DataFrame(battles).to_parquet(data / "03_primary/battles.parquet")

    def note(self, run_id: str, node: str, outcome: str = "done", **fields) -> None:
        common = {"fingerprint": "f", "time": f"time {run_id}", "env": "sample", "command": f"kedro run # {run_id}"}
        Ledger.of(self.data).append(NodeRecord(run_id=run_id, node=node, outcome=outcome, **common | fields))

    def train(self, run_id: str, *, rate: float, num_right: int, digest: str) -> None:
        judge = {"params:resolved.teacher.gemma": {"training": {"rate": rate}}}
        rows = [[0.9, 0.1] if number < num_right else [0.1, 0.9] for number in range(100)]
        read = pd.DataFrame({"pair_id": ids(100), "order": "ab", "probabilities": rows})
        path = self.data / f"07_model_output/teacher/gemma/predictions.parquet/{run_id}/predictions.parquet"
        path.parent.mkdir(parents=True)
        read.to_parquet(path)
        self.note(
            run_id,
            "teacher.gemma.train",
            parameters=judge,
            inputs={"battles": Stored(digest=f"battles of {digest}"), "train_table": Stored(digest=digest)},
            outputs={"teacher.gemma.predictions": Stored(digest=f"{digest} {num_right}", version=run_id)},
        )
        row = {"stage": "teacher", "judge": "gemma", "dataset": "battles[fold 0]", "orders": "ab"}
        row |= {"data_fingerprint": "d", "accuracy": num_right / 100, "log_loss": 0.5, "ece": 0.1, "run_id": run_id}
        path = self.data / f"08_reporting/teacher/gemma/scores.json/{run_id}/scores.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([row, row | {"dataset": "battles[fold 0] language=en"}]))
        scores = {"teacher.gemma.scores": Stored(digest=f"scores of {run_id}", version=run_id)}
        self.note(run_id, "teacher.gemma.evaluate", parameters=judge, outputs=scores)
        labels = {"collected_labels.gemma.predictions": Stored(digest=digest, version=run_id)}  # pairs without votes
        self.note(run_id, "collected_labels.gemma.score", outputs=labels)


@pytest.fixture
def runs(tmp_path) -> Runs:
    runs = Runs(tmp_path / "data")
    runs.train(FIRST, rate=0.1, num_right=60, digest="one")
    runs.train(SECOND, rate=0.2, num_right=75, digest="two")
    runs.note(THIRD, "teacher.gemma.train", "fresh")
    runs.note(THIRD, "teacher.gemma.evaluate", "failed")
    return runs


@pytest.fixture
def call(runs, monkeypatch) -> Command:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("KEDRO_ENV", "sample")
    bootstrap_project(PROJECT)
    return lambda *arguments: CliRunner().invoke(compare, ["--params", f"data_root={runs.data}", *arguments])


def test_without_runs_all_are_listed(call):
    ran = call()
    assert ran.exit_code == 0, ran.output
    assert [line.split()[1] for line in ran.output.splitlines() if "2026-" in line] == [FIRST, SECOND, THIRD]
    told = json.loads(call("--json").stdout)
    assert [(run["num_done"], run["num_fresh"], run["num_failed"]) for run in told] == [(3, 0, 0), (3, 0, 0), (0, 1, 1)]


def test_all_that_differs_is_told(call):
    told = json.loads(call(FIRST, SECOND, "--json").stdout)
    nodes = ["teacher.gemma.evaluate", "teacher.gemma.train"]
    assert told["parameters"] == [{"name": "judge.training.rate", "old": 0.1, "new": 0.2, "nodes": nodes}]
    assert [change["name"] for change in told["data"]] == ["train_table", "battles"], "what is raw comes first"
    assert [(row["dataset"], row["old"]["accuracy"], row["new"]["accuracy"]) for row in told["scores"]] == [
        ("battles[fold 0]", 0.6, 0.75),
        ("battles[fold 0] language=en", 0.6, 0.75),
    ]
    tested = told["judges"]["teacher.gemma"]
    assert (tested["num_battles"], tested["num_first_better"], tested["num_second_better"]) == (100, 15, 0)
    assert tested["difference"] == pytest.approx(0.15)
    assert list(told["judges"]) == ["teacher.gemma"]
    assert told["remarks"] == []
    shown = call(FIRST, SECOND).output
    for text in ("0.600 -> 0.750", "+0.150", "judge.training.rate", "1 slices of them", "0.000"):
        assert text in shown, text


def test_a_run_stands_for_all_that_was_up_to_date_when_it_ended(call):
    ran = call("previous", "latest")
    assert ran.exit_code == 0, ran.output
    assert "Nothing differs" in ran.output
    assert "Nothing differs" in call(SECOND[:13]).output, "one run is compared with the latest"
    assert json.loads(call(FIRST, "latest", "--json").stdout)["judges"]


def test_versions_that_were_cleaned_away_are_named_and_the_rest_is_told(call, runs):
    shutil.rmtree(runs.data / "07_model_output/teacher/gemma/predictions.parquet" / FIRST)
    told = json.loads(call(FIRST, SECOND, "--json").stdout)
    assert told["remarks"] == [
        f"teacher.gemma.predictions: version {FIRST} is there no more; kedro clean removes old ones"
    ]
    assert (told["judges"], len(told["scores"]), len(told["parameters"])) == ({}, 2, 1)


def test_damaged_files_and_missing_battles_are_remarks(call, runs):
    (runs.data / "08_reporting/teacher/gemma/scores.json" / FIRST / "scores.json").write_text("[{")
    (runs.data / "07_model_output/teacher/gemma/predictions.parquet" / FIRST / "predictions.parquet").write_text("x")
    remarks = json.loads(call(FIRST, SECOND, "--json").stdout)["remarks"]
    assert len(remarks) == 2
    assert "scores.json is damaged" in remarks[0]
    assert remarks[1].startswith("teacher.gemma: its predictions: ")
    (runs.data / "03_primary/battles.parquet").unlink()
    assert "battles.parquet is not there" in call(FIRST, SECOND).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2027"], "there is no run '2027'"),
        (["2026-01"], "beginning of 3 runs"),
        ([FIRST, SECOND, THIRD], "two runs can be compared"),
    ],
)
def test_mistakes_are_told_in_one_message(call, arguments, message):
    ran = call(*arguments)
    assert ran.exit_code > 0
    assert message in ran.output
    assert "Traceback" not in ran.output


def test_before_the_first_run_there_is_nothing_to_tell(call, tmp_path):
    params = ["--params", f"data_root={tmp_path / 'none'}"]
    assert "nothing has been run here yet" in CliRunner().invoke(compare, params).output
    assert "nothing has been run here yet" in CliRunner().invoke(compare, [*params, "latest"]).output


def test_neither_command_loads_torch():
    source = (
        "import sys, wsdm_arena.cli.clean, wsdm_arena.cli.compare, wsdm_arena.cli.comparison_tables; "
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert ran.stdout.strip() == "False"
