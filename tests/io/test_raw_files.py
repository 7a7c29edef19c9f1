from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError

from wsdm_arena.io.raw_files import RawCheckpointDataset, RawShardsDataset

TABLE = pd.DataFrame({"prompt": ["p", "q"]})


def shards(folder: Path) -> RawShardsDataset:
    return RawShardsDataset(filepath=str(folder), cure="Download them from there; ")


def test_shards_are_written_one_a_frame_and_handed_over_as_paths(tmp_path):
    dataset = shards(tmp_path)
    dataset.save([TABLE, TABLE.head(1), TABLE])
    paths = dataset.load()
    assert [path.name for path in paths] == [f"train-{index:05d}-of-00003.parquet" for index in range(3)]
    assert [len(pd.read_parquet(path)) for path in paths] == [2, 1, 2]


def test_a_smaller_simulation_leaves_no_shard_of_the_larger_one(tmp_path):
    shards(tmp_path).save([TABLE] * 3)
    shards(tmp_path).save([TABLE] * 2)
    assert [path.name for path in shards(tmp_path).load()] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]


@pytest.mark.parametrize("name", ["train-00000-of-00002.parquet", "own.parquet"])
def test_files_of_the_user_are_never_replaced_or_removed(tmp_path, name):
    TABLE.to_parquet(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(DatasetError, match="was not written by the simulated arena"):
        shards(tmp_path).check_writable()
    with pytest.raises(DatasetError, match="was not written by the simulated arena"):
        shards(tmp_path).save([TABLE] * 2)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_no_shard_at_all_says_where_they_come_from(tmp_path):
    dataset = shards(tmp_path / "absent")
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"Download them from there; .*simulated_arena"):
        dataset.load()


def test_shards_that_nobody_insists_on_may_be_absent(tmp_path):
    dataset = RawShardsDataset(filepath=str(tmp_path / "absent"), required="")
    assert dataset.exists()
    assert dataset.load() == []


def test_a_raw_checkpoint_is_a_folder(tmp_path):
    dataset = RawCheckpointDataset(filepath=str(tmp_path / "gemma"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"judges\.gemma\.backbone\.source.*simulated_checkpoints"):
        dataset.load()
    (tmp_path / "gemma").mkdir()
    assert dataset.load() == (tmp_path / "gemma").resolve()
    with pytest.raises(DatasetError, match="cannot be saved"):
        dataset.save(tmp_path)
