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
TRAININGS = (
    *(f"teacher.{judge}" for judge in TEACHERS),
    *(f"{stage}.{judge}" for stage in ("student", "pretraining", "final") for judge in ("gemma", "llama")),
    "final_held_out.gemma",
)


CATALOG_NAMES = [
    f"{training}.{entry}"
    for training in TRAININGS
    for entry in ("selection@pandas", "tokens", "checkpoint", "predictions", "training_metrics", "scores")
]


def scoreboard(project) -> list[dict]:
    return json.loads((project.data_root / "08_reporting" / "scoreboard.json").read_text())


def newest(folder: Path) -> Path:
    return max(folder.iterdir()) / folder.name


def table(project, *parts: str) -> pd.DataFrame:
    """The newest version of a table."""
    path = project.data_root.joinpath(*parts)
    return pd.read_parquet(newest(path) if path.is_dir() else path)


def report(project, name: str) -> dict:
    return json.loads(newest(project.data_root / "08_reporting" / name / "report.json").read_text())


def test_the_scoreboard_has_every_stage_judge_and_baseline_with_an_interval(finished):
    rows = scoreboard(finished)
    names = {f"{row['stage']}.{row['judge']}" for row in rows}
    assert set(TRAININGS) <= names
    assert {training.replace(".", ".start.") for training in TRAININGS} <= names
    assert {f"baseline.{name}" for name in ("longer_wins", "tfidf", "majority", "ceiling")} <= names
    assert {"submission.student", "submission.final"} <= names
    for row in rows:
        assert 0 <= row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] <= 1, row
        assert row["num_pairs"] > 0
    flaws = {row["dataset"] for row in rows if row["stage"] == "teacher"}
    for flaw in ("wrong_language", "off_topic", "wrong_result", "refusal"):
        assert any(flaw in dataset for dataset in flaws), flaw


def test_only_the_final_judges_are_marked_as_having_seen_the_held_out_fold(finished):
    marked = {(row["stage"], row["judge"]) for row in scoreboard(finished) if row["seen_in_training"]}
    assert marked == {("final", "gemma"), ("final", "llama")}
    for training in TRAININGS:
        stage, judge = training.split(".")
        selection = table(finished, "05_model_input", stage, judge, "selection.parquet")
        is_held_out = (selection["table"] == "battles") & (selection["fold"] == 0)
        trained_on = set(selection.loc[is_held_out, "split"])
        assert trained_on == ({"train", "seen"} if stage == "final" else {"held_out"}), training


def test_every_training_is_one_launch(finished):
    for training in TRAININGS:
        (run,) = (finished.data_root / "06_models" / ".runs" / training).iterdir()
        assert (run / "complete.json").is_file()
    log = (finished.data_root / "run.log").read_text()
    assert "08_reporting/report.html" in log
    assert log.count(": starting run ") == len(TRAININGS)
    assert not list((finished.data_root / "07_model_output" / ".runs").rglob("torchrun.log"))


def test_the_plan_counts_what_the_trainings_have_read(finished):
    printed = finished.kedro("plan", "--json")
    plan = json.loads(printed[printed.index("{") :])
    jobs = {job["name"]: job for job in plan["jobs"]}
    for training in TRAININGS:
        (run,) = (finished.data_root / "06_models" / ".runs" / training).iterdir()
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        assert jobs[training]["tokens"] == {"value": last["tokens"], "basis": "exact"}, training
        assert jobs[training]["updates"] == {"value": last["updates"], "basis": "exact"}, training


def test_pseudo_labels_know_who_made_them_and_keep_clear_of_what_is_tested_on(finished):
    battles = table(finished, "03_primary", "battles.parquet")
    test_pairs = table(finished, "03_primary", "test_pairs.parquet")
    held_out = set(battles.loc[battles["fold"] == 0, "prompt"]) | set(test_pairs["prompt"])
    for pairs_of, labels_of, judges, margin in (
        (
            "collected_pairs",
            "collected_labels",
            {"gemma": (1, ["ab"]), "gemma_large": (1, ["ab"]), "llama": (1, ["ab"])},
            0.02,
        ),
        ("generated_pairs", "generated_labels", {"gemma": (3.2, ["ab"]), "llama": (1, ["ba"])}, 0.03),
    ):
        pairs = table(finished, "03_primary", f"{pairs_of}.parquet").set_index("pair_id")
        labels = table(finished, "05_model_input", f"{labels_of}.parquet")
        assert len(labels) > 20, labels_of
        assert not set(pairs.loc[labels["pair_id"], "prompt"]) & held_out
        assert ((labels["probability_a"] - labels["probability_b"]).abs() > margin).all()
        made = report(finished, labels_of)
        assert made["num_pairs"] == len(pairs)
        assert made["num_kept"] == len(labels) == made["num_pairs"] - made["num_dropped_by_margin"]
        stage = "teacher" if labels_of == "collected_labels" else "student"
        assert {name: (judge["weight"], judge["orders"]) for name, judge in made["judges"].items()} == judges
        for name, judge in made["judges"].items():
            (run,) = (finished.data_root / "06_models" / ".runs" / f"{stage}.{name}").iterdir()
            assert judge["judge_fingerprint"] == run.name


def test_pairs_are_generated_in_three_rounds_by_two_models_each(finished):
    pairs = table(finished, "03_primary", "generated_pairs.parquet")
    assert set(pairs["round"]) == {"v1", "v2", "v3"}
    assert (pairs["model_a"] != pairs["model_b"]).all()
    known = set(table(finished, "03_primary", "battles.parquet")["prompt"])
    known |= set(table(finished, "03_primary", "collected_pairs.parquet")["prompt"])
    assert not set(pairs["prompt"]) & known
    requests = table(finished, "02_intermediate", "answer_requests.parquet")
    again = requests[
        (requests["round"] == "v3") & requests["prompt_group"].isin(requests.query("round == 'v1'")["prompt_group"])
    ]
    assert len(again) > 0
    assert (again["language"] != "English").all()
    before = requests.query("round == 'v1'").groupby("prompt_group")["answer_model"].agg(set)
    assert not any(
        model in before[group] for group, model in zip(again["prompt_group"], again["answer_model"], strict=True)
    )
    stored = [
        json.loads(line)
        for file in (finished.data_root / "02_intermediate" / "answer_store").rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    answered = [line["request_id"] for line in stored if "request_id" in line]
    assert sorted(answered) == sorted(requests["request_id"])


def test_both_submissions_answer_every_test_row(finished):
    sample = pd.read_csv(finished.data_root / "01_raw" / "sample_submission.csv", dtype="str")
    for stage, ratio in (("student", 3.2), ("final", 2.5)):
        submitted = pd.read_csv(
            newest(finished.data_root / "07_model_output" / "submission" / stage / "submission.csv"), dtype="str"
        )
        assert submitted.columns.tolist() == ["id", "winner"]
        assert submitted["id"].tolist() == sample["id"].tolist()
        assert set(submitted["winner"]) <= {"model_a", "model_b"}
        verdicts = table(finished, "07_model_output", "submission", stage, "verdicts.parquet")
        is_twice = verdicts["difference_second"].notna()
        assert (is_twice == (verdicts["difference_first"].abs() < 1 / ratio)).all()
        made = report(finished, f"submission.{stage}")
        assert made["num_read_twice"] == is_twice.sum()
        assert made["share_at_compared_threshold"] >= made["share_selected"]


def test_bundles_hold_what_their_stage_trained(finished):
    from wsdm_arena.judging.bundle import Bundle

    for stage in ("student", "final"):
        for judge in ("gemma", "llama"):
            bundle = Bundle.open(newest(finished.data_root / "06_models" / stage / judge / "bundle"))
            assert set(bundle.layouts) == {"plain", "fused"}
            assert bundle.provenance["stage"] == stage
            assert bundle.prompt.policy == ("per_field" if stage == "student" else "shared_budget")
            (run,) = (finished.data_root / "06_models" / ".runs" / f"{stage}.{judge}").iterdir()
            weights = (run / "model" / "model.safetensors").read_bytes()
            assert (bundle.path / "model.safetensors").read_bytes() == weights
            assert bundle.temperature > 0


def test_any_two_judges_that_have_not_seen_the_battles_are_compared_the_later_one_first(finished):
    rows = json.loads((finished.data_root / "08_reporting" / "comparisons.json").read_text())
    honest = [name for name in TRAININGS if not name.startswith("final.")]
    assert [(row["first"], row["second"]) for row in rows] == [
        (later, earlier) for number, later in enumerate(honest) for earlier in honest[:number]
    ]
    for row in rows:
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        assert 0 <= row["p_value"] <= 1


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
    assert "Everything is up to date: none of 6 nodes had to run." in done.stdout + done.stderr


def test_the_finetuning_pipeline_is_everything_up_to_the_final_judges_and_reuses_it(finished):
    done = finished.run("--pipeline", "finetuning")
    assert "Everything is up to date" in done.stdout + done.stderr
    came_to = set(finished.last_run())
    assert {f"{training}.train" for training in TRAININGS} <= came_to
    assert sum(node.endswith(".score") and "labels" in node for node in came_to) == 5


@pytest.mark.parametrize(
    "name", ["pseudo_labeling", "pair_generation", "pretraining", "export", "submission", "reporting"]
)
def test_every_pipeline_runs_alone_on_what_is_there(finished, name):
    before = scoreboard(finished)
    done = finished.run("--pipelines", name)
    assert "starting run" not in done.stdout + done.stderr
    assert [row["accuracy"] for row in scoreboard(finished)] == [row["accuracy"] for row in before]


def test_several_pipelines_run_in_data_order_however_they_are_named(finished):
    finished.run("--pipelines", "pretraining,pseudo_labeling,pair_generation")
    came_to = list(finished.last_run())
    nodes = ("build_generated_pairs", "generated_labels.combine", "pretraining.llama.select")
    order = [came_to.index(node) for node in nodes]
    assert order == sorted(order)


def test_without_students_the_teachers_are_ranked_alone(finished):
    done = finished.run("--pipelines", "reporting", **{"roster.students": "[]", "roster.final_held_out": "[]"})
    assert "student" not in {row["stage"] for row in scoreboard(finished)}
    assert done.returncode == 0
    finished.run("--pipelines", "reporting")


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
        f"{list(map(str, CATALOG_NAMES))}",
        "sorted(set(_) - set(catalog.keys()))",
        "from wsdm_arena.runs.provenance import entries_made",
        "made = entries_made(catalog.load('ledger')).set_index('entry')",
        "made.loc['final.llama.checkpoint', 'inputs']",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in code])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(PROJECT)}}).execute()
    assert int(notebook.cells[2].outputs[-1]["data"]["text/plain"]) > 0
    assert notebook.cells[3].outputs[-1]["data"]["text/plain"] == "True"
    assert notebook.cells[5].outputs[-1]["data"]["text/plain"] == "[]"
    assert "pretraining.llama.checkpoint 2" in notebook.cells[8].outputs[-1]["data"]["text/plain"]


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
