import pytest
from kedro.io import DatasetError, MemoryDataset, Version

from wsdm_arena.io.contents import files_of, is_versioned, path_of, saving_path, versioned_path, versions_of
from wsdm_arena.io.path import FileDataset, FolderDataset
from wsdm_arena.io.raw_files import RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset

OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"


@pytest.fixture
def versioned(tmp_path) -> FileDataset:
    """One file with an old version, that saves a new one."""
    (tmp_path / "report.txt" / OLD).mkdir(parents=True)
    (tmp_path / "report.txt" / OLD / "report.txt").write_text("old")
    return FileDataset(filepath=str(tmp_path / "report.txt"), version=Version(None, NEW))


def test_an_entry_with_versions_tells_where_they_lie(versioned, tmp_path):
    assert is_versioned(versioned)
    assert path_of(versioned) == tmp_path / "report.txt"
    assert versions_of(versioned) == [OLD]
    assert versioned_path(versioned, OLD).read_text() == "old"
    assert files_of(versioned) == [versioned_path(versioned, OLD)]


def test_after_a_version_was_put_there_it_is_the_newest(versioned):
    with saving_path(versioned) as target:
        assert target == versioned_path(versioned, NEW)
        target.parent.mkdir()
        target.write_text("new")
    assert versions_of(versioned) == [NEW, OLD]
    assert files_of(versioned) == [target]
    with pytest.raises(DatasetError, match="must not exist"), saving_path(versioned):
        pass


def test_entries_without_versions(tmp_path):
    plain = FileDataset(filepath=str(tmp_path / "plain.txt"))
    for dataset in (plain, FolderDataset(filepath=str(tmp_path / "folder")), MemoryDataset()):
        assert not is_versioned(dataset)
        assert versions_of(dataset) == []
    assert path_of(plain) == tmp_path / "plain.txt"
    assert path_of(MemoryDataset()) is None


def test_an_entry_that_nothing_was_saved_to_has_no_versions(tmp_path):
    dataset = FileDataset(filepath=str(tmp_path / "none.txt"), version=Version(None, NEW))
    assert is_versioned(dataset)
    assert versions_of(dataset) == files_of(dataset) == []


@pytest.mark.parametrize("kind", [RawTableDataset, RawShardsDataset])
def test_raw_files_are_those_that_are_there(kind, tmp_path):
    tmp_path = tmp_path / "01_raw"
    tmp_path.mkdir()
    dataset = kind(filepath=str(tmp_path / "*.parquet"), required=False)
    assert files_of(dataset) == dataset.present_files() == dataset.simulated_files() == []
    assert "`kedro run --pipelines simulated_arena`" in dataset.describe_absence()
    (tmp_path / "b.parquet").touch()
    (tmp_path / "a.parquet").touch()
    assert files_of(dataset) == dataset.files() == [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert dataset.describe_absence() == ""
