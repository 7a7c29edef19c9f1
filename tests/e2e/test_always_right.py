"""``kedro run`` is always the right command: done work is reused, stopped work goes on, changed work is redone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

STUDENTS = ("gemma", "llama")


def said(done: subprocess.CompletedProcess) -> str:
    return done.stdout + done.stderr


def run_directories(project) -> set[Path]:
    folders = ("06_models/.runs", "07_model_output/.runs", "06_models/.bundles", "06_models/.backbones")
    return {path for folder in folders for path in (project.data_root / folder).glob("*/*")}


@pytest.fixture
def copy(finished, tmp_path):
    """The finished run in a folder of its own, which a test may spoil."""
    shutil.copytree(finished.data_root, tmp_path / "data", copy_function=os.link)
    for file in (tmp_path / "data").rglob("*"):  # what is edited in place must not be a link to the original
        if file.is_file() and file.stat().st_size < 1_000_000:
            content = file.read_bytes()
            file.unlink()
            file.write_bytes(content)
    return type(finished)(tmp_path / "data")


def test_a_second_run_runs_nothing_and_says_so(finished):
    finished.run()
    before = {path for path in finished.data_root.rglob("*") if "ledger" not in path.name}
    done = finished.run()
    assert f"Everything is up to date: none of {len(finished.status())} nodes had to run." in said(done)
    assert {path for path in finished.data_root.rglob("*") if "ledger" not in path.name} == before
    assert {row["outcome"] for row in finished.last_run().values()} == {"fresh"}
    assert finished.not_fresh() == {}


def test_a_changed_label_parameter_redoes_what_depends_on_it_and_set_back_nothing_is_redone(copy):
    before, directories = copy.status(), run_directories(copy)
    copy.run(**{"pseudo_labels.generated_pairs.min_margin": 0.3})
    redone = copy.outcomes()["done"]
    trainings = {f"pretraining.{judge}" for judge in STUDENTS} | {f"final.{judge}" for judge in STUDENTS}
    trainings |= {"final_held_out.gemma"}
    assert {node for node in redone if node.endswith(".train")} == {f"{training}.train" for training in trainings}
    assert {f"pretraining.{judge}.select" for judge in STUDENTS} <= redone
    assert {"generated_labels.combine", "submission.final.judge", "build_scoreboard"} <= redone
    behind = ("generated_labels.combine", "pretraining.", "final", "export.final.", "submission.final.", "report.")
    assert {node for node in redone if not node.startswith(behind)} == {"compare_judges", "build_scoreboard"}
    assert not {node for node in redone if node.endswith(".tokenize")}
    work = {done for node in redone for done in copy.work_of(node)}
    assert work == {"training made", "bundle made", "tokens reused"}
    new = {path.parent.name for path in run_directories(copy) - directories}
    assert trainings <= new

    copy.run()
    found = copy.outcomes()
    without_versions = {node for node in found["done"] if not node.startswith("report.")}
    assert without_versions == {"compare_judges", "build_scoreboard"}  # they and the report take seconds
    assert found["taken"] == redone - found["done"]
    after = copy.status()
    assert {node: state["state"] for node, state in after.items() if state["state"] != "fresh"} == {}
    for node, state in before.items():
        if node not in ("build_scoreboard", "report.write"):  # the page names the run that wrote it
            digests = {name: stored["digest"] for name, stored in state["outputs"].items()}
            assert {name: stored["digest"] for name, stored in after[node]["outputs"].items()} == digests, node


def test_a_truncation_parameter_makes_stale_what_is_cut_by_it(finished):
    finished.run()
    found = finished.status(**{"truncation.shared_budget.max_prompt_tokens": 60})
    stale = {node for node, state in found.items() if state["state"] == "stale"}
    assert {f"pretraining.{judge}.tokenize" for judge in STUDENTS} <= stale
    assert all("truncation.shared_budget.max_prompt_tokens: 80 -> 60" in found[node]["reasons"] for node in stale)
    waiting = {node for node, state in found.items() if state["state"] == "waiting"}
    assert {f"pretraining.{judge}.train" for judge in STUDENTS} <= waiting
    assert {found[node]["state"] for node in ("build_battles", "mine_prompts", "baseline.score")} == {"fresh"}


def test_how_it_is_run_and_logged_makes_nothing_stale(finished):
    finished.run()
    params = {
        "training.log_every_updates": 1,
        "training.checkpoint.every_updates": 3,
        "launcher.processes_per_node": 1,
        "training.max_tokens_per_micro_batch": 4_096,
        "submission.max_tokens_per_batch": 512,
        "generation.retries.attempts": 2,
    }
    assert finished.not_fresh(**params) == {}


def test_a_hand_edited_vote_makes_stale_what_learnt_from_it(copy):
    path = copy.data_root / "01_raw" / "train.parquet"
    table = pd.read_parquet(path)
    table.loc[table.index[0], "response_a"] = "Changed by hand."
    table.to_parquet(path)
    found = copy.status()
    assert found["build_battles"]["reasons"] == ["train_table has changed"]
    assert found["teacher.llama.train"]["state"] == "waiting"
    assert found["backbone.llama"]["state"] == "fresh"
    done = copy.run("--pipelines", "student", check=False)  # on battles that are out of date
    assert done.returncode != 0
    assert "build_battles: train_table has changed" in said(done)
    assert "kedro run --to-nodes" in said(done)
    assert "Traceback" not in said(done)
    done = copy.run("--pipelines", "simulated_arena", check=False)  # would overwrite what was edited
    assert "was not written by the simulated arena, or was changed since" in said(done)
    assert pd.read_parquet(path).iloc[0]["response_a"] == "Changed by hand."


def test_a_deleted_checkpoint_and_one_from_elsewhere_are_put_right_without_training(copy):
    teacher = copy.data_root / "06_models" / "teacher" / "gemma" / "checkpoint"
    shutil.rmtree(teacher)
    final = max((copy.data_root / "06_models" / "final" / "gemma" / "checkpoint").iterdir()) / "checkpoint"
    other = max((copy.data_root / "06_models" / "student" / "gemma" / "checkpoint").iterdir()) / "checkpoint"
    shutil.rmtree(final)
    shutil.copytree(other, final)
    found = copy.status()
    assert found["teacher.gemma.train"]["reasons"] == ["teacher.gemma.checkpoint is gone"]
    assert found["final.gemma.train"]["reasons"] == ["final.gemma.checkpoint is not as it was made"]
    done = copy.run()
    assert "starting run" not in said(done)
    ran = copy.outcomes()["done"]
    assert ran == {"teacher.gemma.train", "final.gemma.train"}
    assert [done for node in ran for done in copy.work_of(node)] == ["training reused", "training reused"]
    assert copy.not_fresh() == {}


def test_a_hole_in_a_selection_is_refused_unless_it_is_up_to_date(finished):
    finished.run()
    finished.run("--pipelines", "student,export")
    changed = {"stages.student.training.epochs": 2}
    done = finished.run("--pipelines", "student,export", check=False, **changed)
    assert done.returncode != 0
    assert "generated_labels.gemma.tokenize: resolved.student.gemma.training.epochs: 1 -> 2" in said(done)
    cure = re.search(r"bring everything up to date: kedro run (.*)", said(done))[1]
    assert "--to-nodes" in cure
    assert "student.gemma.draw" in cure
    assert cure.endswith("stages.student.training.epochs=2")
    assert "Traceback" not in said(done)
    assert finished.not_fresh() == {}


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--pipelines", "finetunin"), "finetuning"),
        (("--namespaces", "teacher.gema"), "teacher.gemma"),
        (("--to-nodes", "teacher.gemma.trian"), "teacher.gemma.trian"),
    ],
)
def test_a_misspelt_selection_is_said_in_one_message(finished, args, named):
    done = finished.run(*args, check=False)
    assert done.returncode == 2
    assert named in said(done)
    assert "Traceback" not in said(done)


def test_a_forgotten_node_runs_again(copy):
    copy.kedro("forget", "teacher.llama")
    done = copy.run()
    assert "nothing to train" in said(done)
    assert {node for node in copy.outcomes()["done"] if node.startswith("teacher.llama.")} == {
        f"teacher.llama.{step}" for step in ("select", "tokenize", "train", "evaluate", "analyse", "draw")
    }
