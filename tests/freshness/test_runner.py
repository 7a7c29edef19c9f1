"""What runs again, and what does not."""

import json
import os
import shutil

import pandas as pd
import pytest

from wsdm_arena.runs.formats import result_format
from wsdm_arena.runs.ledger import LEDGER_NAME

ALL = {"clean", "label", "train", "score", "report"}


def test_a_second_run_calls_nothing_and_leaves_no_new_version(project):
    assert project.run() == ALL
    versions = sorted(path for path in project.root.rglob("2026-*"))
    assert project.run() == set()
    assert sorted(path for path in project.root.rglob("2026-*")) == versions
    assert [record.outcome for record in project.ledger.records()] == ["done"] * 5 + ["fresh"] * 5


def test_a_parameter_reruns_what_depends_on_it_and_nothing_before_it(project):
    project.run()
    project.parameters["label"] = type(project.parameters["label"])(factor=2)
    assert project.run() == ALL - {"clean"}
    assert project.last("label").reasons == ("label.factor: 1 -> 2",)
    assert project.last("train").reasons == ("labels has changed",)
    assert project.run() == set()


def test_a_parameter_set_back_takes_again_what_had_been_made(project):
    project.run()
    first = {name: project.newest(name) for name in ("labels.parquet", "checkpoint", "scores.parquet")}
    project.parameters["label"] = type(project.parameters["label"])(factor=2)
    project.run()
    project.parameters["label"] = type(project.parameters["label"])(factor=1)
    assert project.run() == set()
    assert {project.last(node).taken_from for node in ("label", "train", "score", "report")} == {project.version(1)}
    for name, path in first.items():
        again = project.newest(name)
        assert again != path
        weights = (again / "weights", path / "weights") if path.is_dir() else (again, path)
        assert weights[0].stat().st_ino == weights[1].stat().st_ino  # not a byte was copied
    assert pd.read_parquet(project.newest("scores.parquet"))["score"].tolist() == [13.0] * 4
    assert project.run() == set()


def test_an_earlier_version_that_was_changed_since_is_not_taken_again(project):
    project.run()
    stale = project.newest("labels.parquet")
    project.parameters["label"] = type(project.parameters["label"])(factor=2)
    project.run()
    pd.DataFrame({"prompt": ["x"], "label": [99]}).to_parquet(stale)
    project.parameters["label"] = type(project.parameters["label"])(factor=1)
    assert project.run() == {"label"}  # and what follows finds its own earlier versions
    assert pd.read_parquet(project.newest("scores.parquet"))["score"].tolist() == [13.0] * 4


def test_what_only_changes_how_often_something_is_logged_reruns_nothing(project):
    project.run()
    project.parameters["label"] = type(project.parameters["label"])(log_every=50)
    assert project.run() == set()


def test_a_node_that_comes_out_as_before_stops_the_change(project):
    project.run()
    project.raw.write_text(project.raw.read_text().replace("eleven", "twelve"))  # a row that clean leaves out
    assert project.run() == {"clean", "score"}
    assert project.last("clean").reasons == ("raw has changed",)


def test_an_edited_output_is_made_again(project):
    project.run()
    (project.newest("checkpoint") / "weights").unlink()
    (project.newest("checkpoint") / "weights").write_text("99")
    assert project.run() == {"train"}
    assert project.last("train").reasons == ("checkpoint is not as it was made",)
    assert (project.newest("checkpoint") / "weights").read_text() == "13"


def test_a_deleted_version_is_made_again_out_of_what_is_left(project):
    project.run()
    shutil.rmtree(project.newest("checkpoint").parent)
    assert project.run() == {"train"}
    assert project.last("train").reasons == ("checkpoint is gone",)
    assert [work.outcome for work in project.last("train").work] == ["reused"]


def test_a_version_without_its_manifest_is_made_again(project):
    project.run()
    (project.newest("checkpoint") / "manifest.json").unlink()
    assert project.run() == {"train"}
    assert (project.newest("checkpoint") / "manifest.json").exists()


def test_a_version_survives_the_directory_that_it_was_linked_from(project):
    project.run()
    shutil.rmtree(project.root / "runs")
    assert project.run() == set()
    assert (project.newest("checkpoint") / "weights").read_text() == "13"


def test_a_touched_file_is_no_change(project):
    project.run()
    os.utime(project.raw, (0, 0))
    assert project.run() == set()


def test_a_crash_is_noted_and_the_same_command_goes_on_behind_what_is_done(project):
    project.calls.fail = "train"
    with pytest.raises(RuntimeError, match="train was stopped"):
        project.run()
    failed = project.last("train")
    assert (failed.outcome, failed.error) == ("failed", "RuntimeError: train was stopped")
    project.calls.fail = None
    assert project.run() == {"train", "score", "report"}


def test_a_crash_leaves_a_changed_node_to_be_run_again(project):
    project.run()
    project.parameters["label"] = type(project.parameters["label"])(factor=2)
    project.calls.fail = "train"
    with pytest.raises(RuntimeError):
        project.run()
    project.calls.fail = None
    assert project.run() == {"train", "score", "report"}
    assert pd.read_parquet(project.newest("scores.parquet"))["score"].tolist() == [26.0] * 4


def test_work_in_which_something_is_missing_is_tried_again(project):
    project.calls.incomplete = "train"
    project.run()
    assert project.run() == {"train"}
    project.calls.incomplete = None
    assert project.run() == {"train"}
    assert project.run() == set()


def test_new_code_runs_again(project, monkeypatch):
    project.run()
    pipeline = type(project).pipeline.fget

    def changed(self):
        built = pipeline(self)
        for node in built.nodes:
            if node.name == "label":
                result_format(2)(node.func)
        return built

    monkeypatch.setattr(type(project), "pipeline", property(changed))
    assert project.run() == {"label"}  # and its labels come out as before
    assert project.last("label").reasons == ("its code computes something else now (format 1 -> 2)",)
    assert project.run() == set()


def test_only_selected_nodes_are_run(project):
    project.run()
    project.parameters["label"] = type(project.parameters["label"])(factor=2)
    assert project.run("label", "train") == {"label", "train"}
    assert project.run() == {"score", "report"}


def test_a_ledger_line_that_a_crash_cut_off_costs_that_node_only(project, caplog):
    project.run()
    path = project.root / LEDGER_NAME
    path.write_bytes(path.read_bytes()[:-40])
    assert project.run() == {"report"}
    assert "cut off by a crash" in caplog.text
    lines = path.read_text().splitlines()
    assert all(json.loads(line)["node"] for line in lines)
    assert len(pd.read_json(path, lines=True)) == 4 + 5
    assert project.run() == set()


def test_without_a_ledger_nodes_run_again_and_find_their_work(project):
    project.run()
    (project.root / LEDGER_NAME).unlink()
    assert project.run() == ALL
    assert [work.outcome for work in project.last("train").work] == ["reused"]


def test_the_order_of_the_ledger_and_not_the_clock_says_what_came_last(project):
    project.runs = 20
    project.run()
    project.runs = 25
    project.parameters["label"] = type(project.parameters["label"])(factor=2)
    project.run()
    lines = (project.root / LEDGER_NAME).read_text().splitlines()
    year = lines[0].partition('"time": "')[2][:4]
    later = [line.replace(f'"time": "{year}', '"time": "2099') if n < 5 else line for n, line in enumerate(lines)]
    assert later != lines
    (project.root / LEDGER_NAME).write_text("\n".join(later) + "\n")
    assert project.run() == set()


def test_two_clones_that_share_a_data_folder_share_what_is_done(project):
    project.run()
    clone = type(project)(project.root, runs=project.runs)
    assert clone.run() == set()


def test_the_ledger_says_what_made_what(project):
    project.run()
    train, score = project.last("train"), project.last("score")
    assert train.outputs["checkpoint"].version == project.version(1)
    assert score.inputs["checkpoint"] == train.outputs["checkpoint"]
    assert score.inputs.keys() == {"checkpoint", "raw"}
    assert train.work[0].directory == str(project.root / "runs" / "13")
    assert (train.env, train.command, train.git_commit) == ("sample", "kedro run # 1", "commit")
    assert train.outputs["checkpoint"].size == 2 + 2


def test_a_ledger_that_cannot_be_written_hides_no_error(project, monkeypatch, caplog):
    def full(self, *records):
        raise OSError(28, "No space left on device")

    project.calls.fail = "clean"
    monkeypatch.setattr("wsdm_arena.runs.ledger.Ledger.append", full)
    with pytest.raises(RuntimeError, match="clean was stopped"):
        project.run()
    assert "No space left on device" in caplog.text


def test_a_disk_that_is_full_when_a_node_is_noted_stops_the_run_and_loses_nothing(project, monkeypatch):
    from wsdm_arena.runs.ledger import Ledger

    append = Ledger.append

    def full(self, *records):
        if any(record.node == "train" for record in records):
            raise OSError(28, "No space left on device")
        append(self, *records)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", full)
        with pytest.raises(OSError, match="No space left"):
            project.run()
    assert project.run() == {"train", "score", "report"}
    assert [work.outcome for work in project.last("train").work] == ["reused"]
