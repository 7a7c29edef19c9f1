import pandas as pd
import pytest
from kedro.io import DatasetError, Version

from wsdm_arena.io.optional_table import OptionalTableDataset
from wsdm_arena.io.table import TableDataset

TABLE = pd.DataFrame({"pair_id": ["x", "y"], "prompt": ["é", None], "logits": [[0.5, -0.5], [1.0, 2.0]]})


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_table_comes_back_as_it_was_saved_without_its_index(tmp_path):
    dataset = TableDataset(filepath=str(tmp_path / "sub" / "t.parquet"))
    assert not dataset.exists()
    dataset.save(TABLE.set_axis([7, 3]))
    loaded = dataset.load()
    assert dataset.exists()
    assert loaded["pair_id"].tolist() == ["x", "y"]
    assert loaded["logits"].map(list).tolist() == [[0.5, -0.5], [1.0, 2.0]]
    assert loaded.index.tolist() == [0, 1]
    assert _files(tmp_path) == ["sub/t.parquet"]


def test_versions_are_kept_side_by_side(tmp_path):
    for version, rows in (("1", 1), ("2", 2)):
        TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, version)).save(TABLE[:rows])
    assert _files(tmp_path) == ["t.parquet/1/t.parquet", "t.parquet/2/t.parquet"]
    assert len(TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, None)).load()) == 2
    assert len(TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version("1", None)).load()) == 1


def test_a_save_that_fails_leaves_the_old_table_and_nothing_else(tmp_path):
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"))
    dataset.save(TABLE)
    with pytest.raises(DatasetError):
        dataset.save(pd.DataFrame({"mixed": pd.Series([1, "two", b"three"], dtype=object)}))
    assert len(dataset.load()) == 2
    assert _files(tmp_path) == ["t.parquet"]


def test_a_version_whose_writing_was_killed_does_not_exist(tmp_path):
    TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, "1")).save(TABLE)
    (tmp_path / "t.parquet" / "2").mkdir()
    (tmp_path / "t.parquet" / "2" / ".t.parquet.partial-99").write_bytes(b"half")
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, None))
    assert dataset.resolve_load_version() == "1"


def test_tables_are_local(tmp_path):
    with pytest.raises(DatasetError, match="local disks"):
        TableDataset(filepath="memory://t.parquet")


def test_an_absent_optional_table_is_empty_and_counts_as_there(tmp_path):
    dataset = OptionalTableDataset(filepath=str(tmp_path / "t.parquet"))
    assert dataset.exists()
    assert dataset.load().empty
    dataset.save(TABLE)
    assert len(dataset.load()) == 2
