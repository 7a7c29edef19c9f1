"""What `kedro clean` keeps and removes, and that the disk gains what it says."""

import json
import os
import shutil
from pathlib import Path

import pytest
from kedro.io import Version

from wsdm_arena.io.directory import CheckpointDataset
from wsdm_arena.runs.cleaning import CleaningRules, clean, plan_cleaning
from wsdm_arena.runs.files import describe_file
from wsdm_arena.runs.ledger import Ledger, NodeRecord, Stored
from wsdm_arena.runs.retention import CleaningError
from wsdm_arena.runs.work import Work

LARGEST = Path("src/wsdm_arena/simulation/tiny_backbones")


def stamp(number: int) -> str:
    return f"2026-01-{number:02d}T00.00.00.000Z"


def taken_bytes(root: Path) -> int:
    """What the files below a folder take on the disk, each once, whatever names it has."""
    states = [path.lstat() for path in root.rglob("*") if not path.is_dir() or path.is_symlink()]
    return sum({state.st_ino: state.st_blocks * 512 for state in states}.values())


class DataFolder:
    """A data folder of one judge: trainings, versions that are links to them, and the ledger."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = root / "06_models/teacher/gemma/checkpoint"
        self.scores = root / "08_reporting/teacher/gemma/scores.json"
        self.entries = {"teacher.gemma.checkpoint": self.checkpoint, "teacher.gemma.scores": self.scores}

    def train(self, fingerprint: str, size: int = 50_000) -> Path:
        """A finished run directory."""
        run = self.root / "06_models/.runs/teacher.gemma" / fingerprint
        model = run / "model"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_bytes(fingerprint.encode() * (size // len(fingerprint)))
        files = {"model.safetensors": describe_file(model / "model.safetensors")}
        (model / "manifest.json").write_text(json.dumps({"fingerprint": fingerprint, "files": files}))
        written = {f"model/{path.name}": describe_file(path) for path in model.iterdir()}
        (run / "complete.json").write_text(json.dumps({"fingerprint": fingerprint, "files": written}))
        return run

    def save(self, run: Path, version: str) -> Path:
        """A version of the checkpoint."""
        CheckpointDataset(filepath=str(self.checkpoint), version=Version(None, version)).save(run / "model")
        return self.checkpoint / version

    def note(self, version: str, run: Path, outcome: str = "done", node: str = "teacher.gemma.train") -> None:
        """A line of the ledger."""
        work = (Work("training", run.name, "made", f"/elsewhere/06_models/.runs/teacher.gemma/{run.name}"),)
        outputs = {"teacher.gemma.checkpoint": Stored(digest=run.name, version=version)} if outcome == "done" else {}
        Ledger.of(self.root).append(
            NodeRecord(
                run_id=version, node=node, outcome=outcome, fingerprint="f", time="t", work=work, outputs=outputs
            )
        )

    def run(self, fingerprint: str, version: str) -> tuple[Path, Path]:
        """Train, save and note it."""
        run = self.train(fingerprint)
        saved = self.save(run, version)
        self.note(version, run)
        return run, saved

    def cite(self, **row: str) -> None:
        path = self.root / "08_reporting/scoreboard.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"run_id": None, "judge_fingerprint": None} | row]))

    def plan(self, **rules):
        return plan_cleaning(self.root, self.entries, CleaningRules(**rules))

    def clean(self, **rules):
        """Clean, and make sure that the disk gained what was said before and after."""
        plan = self.plan(**rules)
        before = taken_bytes(self.root)
        done = clean(plan)
        assert before - taken_bytes(self.root) == done.freed_bytes == plan.freed_bytes
        assert not done.failures
        return plan


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def versions(data: DataFolder) -> list[str]:
    return sorted(path.name for path in data.checkpoint.iterdir())


def reasons(plan) -> dict[str, str]:
    return {item.path.name: item.reason for item in plan.items}


def test_20_versions_take_the_disk_of_one_and_cleaning_frees_what_it_says(data):
    """Of the largest checkpoint of the sample."""
    size = max(path.stat().st_size for path in LARGEST.rglob("*.safetensors"))
    first, second = data.train("aaaa", size), data.train("bbbb", size)
    one = taken_bytes(first) + taken_bytes(second)
    for number in range(1, 21):
        run = first if number <= 10 else second
        data.save(run, stamp(number))
        data.note(stamp(number), run)
    assert taken_bytes(data.root) == one + taken_bytes(data.root / "08_reporting")
    plan = data.clean()
    assert versions(data) == [stamp(19), stamp(20)]
    assert plan.freed_bytes == one - taken_bytes(second) > 1_000_000
    assert not first.exists()
    assert second.exists()


def test_removing_versions_only_frees_nothing_and_says_so(data):
    run = data.train("aaaa")
    for number in range(1, 21):
        data.save(run, stamp(number))
        data.note(stamp(number), run)
    plan = data.clean()
    assert len(plan.removed) == 18
    assert plan.freed_bytes == 0


def test_a_plan_changes_nothing(data):
    for number in range(1, 5):
        data.run(f"aaa{number}", stamp(number))
    before = sorted(data.root.rglob("*"))
    assert len(data.plan().removed) == 4
    assert sorted(data.root.rglob("*")) == before


def test_versions_and_run_directories_go_together(data):
    runs = [data.run(f"aaa{number}", stamp(number)) for number in range(1, 5)]
    plan = data.clean(keep=1)
    assert [run.exists() for run, _ in runs] == [False, False, False, True]
    assert [version.exists() for _, version in runs] == [False, False, False, True]
    assert plan.freed_bytes >= 3 * 50_000
    assert not data.clean(keep=1).removed


def test_links_elsewhere_keep_their_bytes(data, tmp_path):
    """Whoever has a copy by hard links frees nothing."""
    for number in range(1, 4):
        data.run(f"aaa{number}", stamp(number))
    shutil.copytree(data.root, tmp_path / "copy", copy_function=os.link)
    before = taken_bytes(data.root)
    done = clean(data.plan(keep=1))
    assert len(done.removed) == 4
    assert done.freed_bytes == 0
    assert taken_bytes(data.root) < before


def test_a_reused_run_directory_stays_with_its_newest_version(data):
    first = data.run("aaaa", stamp(1))[0]
    data.run("bbbb", stamp(2))
    data.save(first, stamp(3))
    data.note(stamp(3), first)
    data.clean(keep=1)
    assert versions(data) == [stamp(3)]
    assert first.exists()
    assert not (first.parent / "bbbb").exists()


def test_the_run_that_the_scoreboard_cites_stays_in_every_entry(data):
    cited, _ = data.run("aaa1", stamp(1))
    for number in range(2, 5):
        data.run(f"aaa{number}", stamp(number))
    for number in range(1, 5):
        (data.scores / stamp(number)).mkdir(parents=True)
        (data.scores / stamp(number) / "scores.json").write_text("[]")
    data.cite(run_id=stamp(1))
    plan = data.clean(keep=1)
    assert versions(data) == [stamp(1), stamp(4)]
    assert sorted(path.name for path in data.scores.iterdir()) == [stamp(1), stamp(4)]
    assert cited.exists()
    assert reasons(plan)[stamp(1)] == "the scoreboard cites it"


def test_one_version_of_the_judge_that_the_scoreboard_cites_stays(data):
    cited, _ = data.run("aaaa", stamp(1))
    data.save(cited, stamp(2))
    data.note(stamp(2), cited)
    for number in range(3, 6):
        data.run(f"bbb{number}", stamp(number))
    data.cite(judge_fingerprint="aaaa")
    data.clean(keep=1)
    assert versions(data) == [stamp(2), stamp(5)]
    assert cited.exists()


def test_a_scoreboard_that_cannot_be_read_stops_it(data):
    data.run("aaaa", stamp(1))
    (data.root / "08_reporting/scoreboard.json").write_text('[{"run_id"')
    with pytest.raises(CleaningError, match="nobody knows what it cites"):
        data.plan()


@pytest.mark.filterwarnings("ignore:Save version:UserWarning")  # Kedro goes by names
def test_of_a_clock_that_jumped_back_both_newest_versions_stay(data):
    for number in (7, 8, 9, 3):
        data.run(f"aaa{number}", stamp(number))
    data.clean(keep=1)
    assert versions(data) == [stamp(3), stamp(9)]


def test_the_last_completed_run_of_a_node_stays_whatever_came_after(data):
    """Versions that no ledger knows, such as those put back from a copy, may be newer."""
    last, _ = data.run("aaaa", stamp(1))
    for number in (2, 3):
        data.save(data.train(f"bbb{number}"), stamp(number))
    plan = data.clean(keep=1)
    assert versions(data) == [stamp(1), stamp(3)]
    assert last.exists()
    assert not (last.parent / "bbb2").exists(), "it goes with the version that is links to it"
    assert reasons(plan)["bbb2"] == "the versions that are links to it go, too"


def test_judges_that_no_longer_take_part_are_found_on_disk(data):
    for number in range(1, 5):
        data.run(f"aaa{number}", stamp(number))
    data.entries = {}
    plan = data.clean(keep=1)
    assert versions(data) == [stamp(4)]
    assert reasons(plan)[stamp(4)] == "among the newest 1"


def test_what_no_record_names_stays_and_is_named(data):
    unknown = data.train("cccc")
    tokens = data.root / "05_model_input/tokens/battles.abc"
    tokens.mkdir(parents=True)
    (tokens / "manifest.json").write_text("{}")
    plan = data.clean()
    assert {item.path for item in plan.items if item.needs_attention} == {unknown, tokens}
    assert not plan.removed
    assert {item.path for item in data.clean(unknown=True).removed} == {unknown, tokens}
    assert not (data.root / "05_model_input/tokens").exists(), "empty folders go, too"


def test_an_unfinished_training_is_named_with_its_updates_and_stays(data):
    run = data.root / "06_models/.runs/teacher.gemma/dddd"
    (run / "state/update-000060").mkdir(parents=True)
    (run / "state/update-000060/shard").write_bytes(b"x" * 9_000)
    (run / "metrics.jsonl").write_text('{"update": 80, "updates": 125}\n{"upda')
    data.note(stamp(1), run, "failed")
    (item,) = data.clean().items
    assert (item.is_removed, item.needs_attention) == (False, True)
    assert item.reason.startswith("unfinished: update 60 of 125 saved")
    assert data.clean(partial=True).freed_bytes >= 9_000
    assert not run.exists()


def test_what_was_finished_before_its_node_failed_stays(data):
    run = data.root / "06_models/.runs/teacher.gemma/dddd"
    run.mkdir(parents=True)
    (run / "complete.json").write_text('{"fingerprint": "dddd", "files": {}}')
    data.note(stamp(1), run, "failed")
    (item,) = data.clean(keep=1).items
    assert (item.is_removed, item.reason) == (False, "finished before its node failed: the next run takes it")
    assert run.exists()


def test_of_an_unfinished_scoring_the_parts_are_counted(data):
    run = data.root / "07_model_output/.runs/teacher.gemma/eeee"
    (run / "parts").mkdir(parents=True)
    for number in range(3):
        (run / f"parts/part-{number:06d}.parquet").write_bytes(b"x")
    (item,) = data.plan().items
    assert item.reason.startswith("unfinished: 3 parts")


def test_superseded_tokens_go_and_those_of_a_kept_version_stay(data):
    store = data.root / "05_model_input/tokens"
    entry = data.root / "05_model_input/teacher/gemma/tokens.json"
    data.entries = {"teacher.gemma.tokens": entry}
    for number in (1, 2):
        (store / f"battles.{number}").mkdir(parents=True)
        (store / f"battles.{number}/manifest.json").write_text("{}")
        (entry / stamp(number)).mkdir(parents=True)
        (entry / stamp(number) / "tokens.json").write_text("{}")
        work = (Work("tokens", str(number), "made", f"05_model_input/tokens/battles.{number}"),)
        outputs = {"teacher.gemma.tokens": Stored(digest="d", version=stamp(number))}
        common = {"run_id": stamp(number), "outcome": "done", "fingerprint": "f", "time": "t", "work": work}
        Ledger.of(data.root).append(NodeRecord(node="teacher.gemma.tokenize", outputs=outputs, **common))
    assert not data.clean(keep=2).removed
    assert {item.path.name for item in data.clean(keep=1).removed} == {stamp(1), "battles.1"}


def test_answers_go_only_if_told_so(data):
    store = data.root / "02_intermediate/answer_store"
    (store / "arena-1").mkdir(parents=True)
    (store / "arena-1/old.1.jsonl").write_text("{}\n")
    (store / "arena-1/new.2.jsonl").write_text("{}\n")
    for node, name in (("n", "old.1.jsonl"), ("n", "new.2.jsonl")):
        work = (Work("answers", "f", "made", str(store / "arena-1" / name)),)
        record = NodeRecord(run_id="r", node=node, outcome="done", fingerprint="f", time="t", work=work)
        Ledger.of(data.root).append(record)
    assert not data.clean(unknown=True, partial=True).removed
    assert [item.path.name for item in data.clean(answers=True).removed] == ["old.1.jsonl"]


def test_a_version_outlives_its_run_directory(data):
    for number in range(1, 4):
        shutil.rmtree(data.run(f"aaa{number}", stamp(number))[0])
    assert data.clean(keep=1).freed_bytes >= 2 * 50_000
    assert (data.checkpoint / stamp(3) / "checkpoint/model.safetensors").stat().st_size == 50_000


def test_hollow_versions_are_named_and_go_and_do_not_count_as_newest(data):
    intact = [data.run(f"aaa{number}", stamp(number))[1] for number in (1, 2)]
    (data.checkpoint / stamp(5)).mkdir()
    data.save(data.train("bbbb"), stamp(6))
    (data.checkpoint / stamp(6) / "checkpoint/manifest.json").unlink()
    (data.checkpoint / stamp(8)).symlink_to("nowhere")
    plan = data.clean()
    hollow = data.checkpoint / stamp(6) / "checkpoint"
    assert {item.path.name: item.reason for item in plan.items if item.needs_attention} == {
        stamp(5): "it holds no checkpoint",
        stamp(6): f"{hollow} has no manifest.json: it is half written or something else; delete it and make it again",
        stamp(8): "it is a symbolic link to what is not there",
    }
    assert versions(data) == [version.name for version in intact]


def test_a_version_that_has_lost_a_file_is_named_and_goes_only_if_nothing_needs_it(data):
    for number in (1, 2, 3):
        lossy = data.run(f"aaa{number}", stamp(number))[1] / "checkpoint/model.safetensors"
        lossy.unlink()
    plan = data.clean()
    assert versions(data) == [stamp(3)], "it is of the last completed run"
    damaged = {item.path.name for item in plan.items if "is missing" in item.reason and item.needs_attention}
    assert damaged == {stamp(number) for number in (1, 2, 3)}


def test_of_what_has_no_manifest_any_more_only_the_version_stays(data):
    run = data.run("aaaa", stamp(1))[0]
    bundle = data.root / "06_models/.bundles/student.gemma/1234"
    bundle.mkdir(parents=True)
    (run / "model/manifest.json").unlink()
    items = {item.path: item for item in data.clean().items}
    assert (items[run].is_removed, items[run].needs_attention) == (False, True), "the last completed run needs it"
    assert items[run].reason.endswith("model/manifest.json is missing")
    assert (items[bundle].is_removed, items[bundle].needs_attention) == (True, True)
    data.run("bbbb", stamp(2))
    data.clean(keep=1)
    assert not run.exists()
    assert versions(data) == [stamp(2)]


def test_a_run_directory_that_somebody_deleted_by_half_is_an_unfinished_one(data):
    run, version = data.run("aaaa", stamp(1))
    (run / "complete.json").unlink()
    items = {item.path: item for item in data.clean(partial=True).items}
    assert not items[run].is_removed, "a version that stays is links to it"
    assert (version / "checkpoint/model.safetensors").is_file()


def test_a_version_with_a_name_of_its_own_stays_and_is_named(data):
    for number in range(1, 4):
        data.run(f"aaa{number}", stamp(number))
    shutil.copytree(data.checkpoint / stamp(1), data.checkpoint / "best so far")
    plan = data.clean(keep=1)
    assert versions(data) == [stamp(3), "best so far"]
    assert [item.path.name for item in plan.items if item.needs_attention] == ["best so far"]


def test_what_a_killed_cleaning_leaves_is_hidden_and_goes_with_the_next(data, monkeypatch):
    for number in range(1, 4):
        data.run(f"aaa{number}", stamp(number))

    def be_killed(*_args, **_options):
        raise KeyboardInterrupt

    plan = data.plan(keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", be_killed)
        with pytest.raises(KeyboardInterrupt):
            clean(plan)
    assert [name for name in versions(data) if not name.startswith(".")] == [stamp(2), stamp(3)]
    assert [item.kind for item in data.plan(keep=3).removed] == ["training", "leftover"]
    data.clean(keep=1)
    assert versions(data) == [stamp(3)]
    assert [path.name for path in (data.root / "06_models/.runs/teacher.gemma").iterdir()] == ["aaa3"]


def test_what_cannot_be_removed_is_told_and_does_not_count(data, monkeypatch):
    runs = [data.run(f"aaa{number}", stamp(number)) for number in range(1, 4)]
    plan, rename = data.plan(keep=1), os.replace

    def refuse(source, target):
        if Path(source) == runs[0][0]:
            raise OSError(30, "Read-only file system")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    before = taken_bytes(data.root)
    done = clean(plan)
    assert list(done.failures) == [runs[0][0]]
    assert len(done.removed) == 3
    assert 0 < done.freed_bytes == before - taken_bytes(data.root) < plan.freed_bytes


def test_a_line_of_the_ledger_that_was_cut_off_changes_nothing_else(data):
    for number in range(1, 4):
        data.run(f"aaa{number}", stamp(number))
    with (data.root / "08_reporting/ledger.jsonl").open("a") as file:
        file.write('{"run_id": "2026-')
    assert {item.path.name for item in data.clean(keep=1).removed} == {"aaa1", "aaa2", stamp(1), stamp(2)}


def test_without_a_data_folder_there_is_nothing_to_clean(tmp_path):
    plan = plan_cleaning(tmp_path / "none", {})
    assert plan.items == ()
    assert plan.freed_bytes == 0
