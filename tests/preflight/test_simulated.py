import json
import shutil

import pandas as pd
import pytest

from wsdm_arena.io import simulated_files
from wsdm_arena.io.raw_files import RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.io.simulated_files import MARKER_NAME
from wsdm_arena.preflight.simulated import check_raw_files, check_simulator
from wsdm_arena.simulation.raw_checkpoints import write_raw_checkpoints

TABLE = pd.DataFrame({"id": ["1"], "prompt": ["p"], "response_a": ["a"], "response_b": ["b"], "winner": ["model_a"]})


@pytest.fixture
def simulate(tmp_path, monkeypatch):
    """Write raw files as the simulated arena does in an environment."""

    def write(env: str | None) -> None:
        with monkeypatch.context() as patch:
            patch.delenv("KEDRO_ENV", raising=False) if env is None else patch.setenv("KEDRO_ENV", env)
            RawTableDataset(filepath=f"{tmp_path}/01_raw/train.parquet").save(TABLE)
            RawShardsDataset(filepath=f"{tmp_path}/01_raw/conversations").save([TABLE, TABLE.head(0)])

    return write


def refused(run) -> list[str]:
    """Names of the inputs that are refused; all but the last line begin with one."""
    return [line.partition(":")[0] for line in check_raw_files(run)[:-1]]


def test_files_that_the_simulator_wrote_in_another_env_are_refused_by_name(plan, simulate, tmp_path):
    simulate("sample")
    nodes = ["build_battles", "mine_prompts"]
    assert check_raw_files(plan(nodes)) == []
    conversations, table, cures = check_raw_files(plan(nodes, env="a100"))
    assert table == (
        f"train_table: the simulated arena wrote {tmp_path}/01_raw/train.parquet in env 'sample', this is env 'a100'"
    )
    assert conversations.startswith("conversations: the simulated arena wrote ")
    assert "train-00000-of-00002.parquet and 1 more in env 'sample'" in conversations
    for cure in ("kedro fetch --env a100", "raw.train=<files>", "data_root", "--env a100 --pipelines simulated_arena"):
        assert cure in cures


def test_whoever_simulates_anew_owns_the_files(plan, simulate):
    simulate("sample")
    simulate("a100")
    assert check_raw_files(plan(["build_battles"], env="a100")) == []
    assert refused(plan(["build_battles"])) == ["train_table"]


def test_a_file_that_was_changed_since_is_the_users(plan, simulate, tmp_path):
    simulate("sample")
    TABLE.assign(prompt="q").to_parquet(tmp_path / "01_raw" / "train.parquet")
    assert check_raw_files(plan(["build_battles"], env="a100")) == []


def test_it_does_not_matter_where_the_selection_begins(plan, simulate):
    simulate("sample")
    assert refused(plan(["teacher.gemma.train"], env="a100")) == ["train_table"]
    assert refused(plan(["generate_answers"], env="a100")) == ["conversations", "train_table"]
    assert check_raw_files(plan(["backbone.gemma"], env="a100")) == []
    assert check_raw_files(plan(pipeline="simulated_arena", env="a100")) == []


def test_files_that_are_named_are_looked_at_too(plan, simulate, tmp_path):
    simulate("sample")
    (tmp_path / "01_raw").rename(tmp_path / "elsewhere")
    named = {"train_table": {"filepath": str(tmp_path / "elsewhere" / "train.parquet")}}  # as raw.train does
    assert refused(plan(["build_battles"], env="a100", entries=named)) == ["train_table"]
    shutil.copy(tmp_path / "elsewhere" / "train.parquet", tmp_path / "own.parquet")  # whoever insists takes a copy
    named["train_table"]["filepath"] = str(tmp_path / "own.parquet")
    assert check_raw_files(plan(["build_battles"], env="a100", entries=named)) == []


@pytest.mark.parametrize("env", [None, "old"])
def test_a_marker_without_an_env_is_believed_in_the_default_env_only(plan, simulate, tmp_path, env):
    simulate(None)
    if env == "old":  # versions before this one wrote hashes alone
        marker = tmp_path / "01_raw" / MARKER_NAME
        entries = json.loads(marker.read_text())["simulated"]
        hashes = {name: [entry["sha256"] for entry in entries[name]] for name in entries}
        marker.write_text(json.dumps({"simulated": hashes}))
    assert check_raw_files(plan(["build_battles"])) == []
    line, _ = check_raw_files(plan(["build_battles"], env="a100"))
    assert "in an env that its marker does not name, this is env 'a100'" in line


def test_checkpoints_of_the_simulator_are_refused_in_another_env(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "sample")
    folder = tmp_path / "01_raw" / "checkpoints"
    write_raw_checkpoints(folder, ["gemma"])
    assert check_raw_files(plan(["backbone.gemma"])) == []
    line, _ = check_raw_files(plan(["backbone.gemma"], env="a100"))
    assert line.startswith(f"raw_checkpoint.gemma: the simulated arena wrote {folder}/gemma/")
    shutil.rmtree(folder / "gemma")
    (folder / "gemma").mkdir()
    assert check_raw_files(plan(["backbone.gemma"], env="a100")) == []


def test_large_files_that_only_have_the_name_are_not_hashed(simulate, tmp_path, monkeypatch):
    simulate("sample")
    path = tmp_path / "01_raw" / "train.parquet"
    dataset = RawTableDataset(filepath=str(path))
    assert [file.env for file in dataset.simulated_files()] == ["sample"]
    path.write_bytes(path.read_bytes() + b"more")
    assert dataset.simulated_files(sha256=lambda _: pytest.fail("hashed")) == []
    assert simulated_files.find_simulated([tmp_path / "01_raw" / "absent.parquet"]) == []


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"simulated": {"train.parquet": [{"size": 1}]}}', '{"simulated": {"train.parquet": 1}}']
)
def test_a_damaged_marker_is_named(plan, simulate, tmp_path, text):
    from wsdm_arena.preflight.checks import find_problems

    simulate("sample")
    (tmp_path / "01_raw" / MARKER_NAME).write_text(text)
    (lines,) = find_problems(plan(["build_battles"])).values()
    assert lines[0].startswith(f"{tmp_path}/01_raw/{MARKER_NAME} is damaged")


def test_the_simulator_replaces_no_file_of_the_user_and_all_are_named(plan, tmp_path):
    raw = tmp_path / "01_raw"
    (raw / "checkpoints" / "llama").mkdir(parents=True)
    (raw / "checkpoints" / "llama" / "model.safetensors").touch()
    for name in ("train.parquet", "test.parquet"):
        TABLE.to_parquet(raw / name)
    problems = check_simulator(plan(pipeline="simulated_arena"))
    assert len(problems) == 3
    for name in ("test.parquet was not written", "train.parquet was not written", "llama holds model.safetensors"):
        assert any(name in problem for problem in problems)
    assert check_simulator(plan()) == []


def test_the_simulator_does_not_write_where_the_user_says_that_battles_are(plan, tmp_path):
    misspelt = tmp_path.parent / "nosuch.csv"
    entries = {"train_table": {"filepath": str(misspelt)}}
    problems = check_simulator(plan(pipeline="simulated_arena", entries=entries))
    assert problems == [
        f"train_table: {misspelt} is a path of your own, and the simulated arena writes below {tmp_path} only; leave "
        "raw.* away to simulate"
    ]


def test_the_simulator_writes_into_a_folder_that_is_a_link_to_another_disk(plan, tmp_path, tmp_path_factory):
    (tmp_path / "01_raw").symlink_to(tmp_path_factory.mktemp("big_disk"))
    assert check_simulator(plan(pipeline="simulated_arena")) == []
