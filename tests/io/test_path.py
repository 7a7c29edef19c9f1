import pandas as pd
from kedro.io import Version

from wsdm_arena.io.path import FileDataset
from wsdm_arena.io.table import SubmissionDataset


def test_a_file_is_linked_and_outlives_its_source(tmp_path):
    source = tmp_path / "work" / "table.parquet"
    source.parent.mkdir()
    source.write_bytes(b"contents")
    dataset = FileDataset(filepath=str(tmp_path / "catalog" / "table.parquet"))
    assert not dataset.exists()
    dataset.save(source)
    dataset.save(source)  # once more, the same file
    assert dataset.load().read_bytes() == b"contents"
    assert dataset.load().stat().st_nlink == 2
    source.unlink()
    source.write_bytes(b"others")
    assert dataset.load().read_bytes() == b"contents"
    dataset.save(source)
    assert dataset.load().read_bytes() == b"others"
    assert [path.name for path in (tmp_path / "catalog").iterdir()] == ["table.parquet"]


def test_versions_of_a_file_stand_side_by_side(tmp_path):
    for version, contents in (("1", b"a"), ("2", b"b")):
        source = tmp_path / version
        source.write_bytes(contents)
        FileDataset(filepath=str(tmp_path / "f.bin"), version=Version(None, version)).save(source)
    assert FileDataset(filepath=str(tmp_path / "f.bin"), version=Version(None, None)).load().read_bytes() == b"b"


def test_ids_of_a_submission_stay_texts(tmp_path):
    dataset = SubmissionDataset(filepath=str(tmp_path / "submission.csv"))
    table = pd.DataFrame({"id": ["007", "NA", "1e5"], "winner": ["model_a", "model_b", "model_a"]})
    dataset.save(table)
    assert dataset.load().to_numpy().tolist() == table.to_numpy().tolist()
    assert (tmp_path / "submission.csv").read_text().splitlines()[:2] == ["id,winner", "007,model_a"]
