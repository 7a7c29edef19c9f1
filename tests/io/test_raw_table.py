import json

import pandas as pd
import pytest
from kedro.io import DatasetError

from wsdm_arena.io.raw_table import MARKER_NAME, RawTableDataset

TABLE = pd.DataFrame({"id": ["1", "2"], "prompt": ["p", "q"], "response_a": ["a", None], "response_b": ["b", "c"]})
OTHER = TABLE.assign(prompt=["r", "s"])


def _dataset(path) -> RawTableDataset:
    return RawTableDataset(filepath=str(path))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_what_the_simulated_arena_saves_is_read_back_and_may_be_replaced(tmp_path, suffix):
    dataset = _dataset(tmp_path / f"train.{suffix}")
    assert not dataset.exists()
    dataset.save(TABLE)
    assert dataset.exists()
    assert dataset.load()["prompt"].tolist() == ["p", "q"]
    dataset.save(OTHER)
    assert dataset.load()["prompt"].tolist() == ["r", "s"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER_NAME, f"train.{suffix}"]


def test_files_that_the_arena_did_not_write_are_never_replaced(tmp_path):
    path = tmp_path / "train.parquet"
    TABLE.to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(
        DatasetError, match=r"train\.parquet was not written by the simulated arena.*nothing was changed.*raw\.train"
    ):
        _dataset(path).save(OTHER)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["train.parquet"]


def test_a_simulated_file_that_was_changed_since_is_not_replaced(tmp_path):
    path = tmp_path / "train.parquet"
    _dataset(path).save(TABLE)
    OTHER.to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="or was changed since"):
        _dataset(path).save(TABLE)
    assert path.read_bytes() == before
    path.unlink()
    _dataset(path).save(TABLE)  # a removed one may be written again


def test_the_marker_lists_every_file_of_the_folder(tmp_path):
    for name in ("train.parquet", "test.parquet", "sample_submission.csv"):
        _dataset(tmp_path / name).save(TABLE)
    noted = json.loads((tmp_path / MARKER_NAME).read_text())["simulated"]
    assert {name: len(hashes) for name, hashes in noted.items()} == {
        "sample_submission.csv": 1,
        "test.parquet": 1,
        "train.parquet": 1,
    }


def test_a_kill_between_marker_and_file_disowns_nothing(tmp_path, monkeypatch):
    dataset = _dataset(tmp_path / "train.parquet")
    dataset.save(TABLE)
    import wsdm_arena.io.raw_table as module

    original, calls = module.note, []

    def die_after_first(path, contents):
        original(path, contents)
        calls.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "note", die_after_first)
    with pytest.raises(KeyboardInterrupt):
        dataset.save(OTHER)
    assert len(calls) == 1
    assert dataset.load()["prompt"].tolist() == ["p", "q"]
    monkeypatch.undo()
    dataset.save(OTHER)
    assert dataset.load()["prompt"].tolist() == ["r", "s"]


def test_a_damaged_marker_is_named_and_protects(tmp_path):
    _dataset(tmp_path / "train.parquet").save(TABLE)
    (tmp_path / MARKER_NAME).write_text("{")
    with pytest.raises(DatasetError, match=MARKER_NAME):
        _dataset(tmp_path / "train.parquet").save(OTHER)


@pytest.mark.parametrize("name", ["a.parquet,b.parquet", "*.parquet", "", "train.xlsx"])
def test_simulating_into_anything_but_one_file_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="single file"):
        RawTableDataset(filepath=f"{tmp_path}/{name}").save(TABLE)
    with pytest.raises(DatasetError, match="single file"):
        RawTableDataset(filepath=[str(tmp_path / "a.parquet")]).save(TABLE)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named_with_where_it_comes_from(tmp_path):
    with pytest.raises(DatasetError) as refusal:
        _dataset(tmp_path / "01_raw" / "train.parquet").load()
    for part in (
        f"{tmp_path}/01_raw/train.parquet: no such file",
        "https://www.kaggle.com/competitions/wsdm-cup-multilingual-chatbot-arena",
        "kedro run --pipelines simulated_arena",
        "--params raw.train=",
    ):
        assert part in str(refusal.value)


def test_of_a_missing_file_of_ones_own_the_path_is_to_be_corrected(tmp_path):
    with pytest.raises(DatasetError, match=r"mine\.csv: no such file\. Correct the path in raw\.train") as refusal:
        _dataset(tmp_path / "mine.csv").load()
    assert "simulated_arena" not in str(refusal.value)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"train\.parquet: this is no Parquet file"):
        _dataset(tmp_path / "train.parquet").load()


def test_many_files_and_lists_are_one_table(tmp_path, monkeypatch):
    TABLE.to_parquet(tmp_path / "a.parquet")
    TABLE.to_csv(tmp_path / "b.csv", index=False)
    expected = {"a": 2, "b": 2}
    monkeypatch.chdir(tmp_path)
    for filepath in (f"{tmp_path}/a.parquet,b.csv", [str(tmp_path / "a.parquet"), "b.csv"], str(tmp_path)):
        dataset = RawTableDataset(filepath=filepath)
        assert dataset.exists()
        assert dataset.load().groupby("source").size().to_dict() == expected


def test_folders_may_have_commas_and_brackets_in_their_names(tmp_path):
    folder = tmp_path / "mine, [1]"
    folder.mkdir()
    _dataset(folder / "train.parquet").save(TABLE)
    assert len(_dataset(folder / "train.parquet").load()) == 2
