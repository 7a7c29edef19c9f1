"""Which token tables a judge reads."""

import json
import shutil
from pathlib import Path

import pytest

from wsdm_arena.io.tokens import TokensDataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("battles.abc", "test_pairs.def"):
        (tmp_path / "data" / "store" / name).mkdir(parents=True)
        (tmp_path / "data" / "store" / name / "manifest.json").write_text("{}")
    return tmp_path / "data"


def dataset(root: Path) -> TokensDataset:
    return TokensDataset(filepath=str(root / "tokens.json"), store=str(root / "store"))


def test_paths_come_back_and_names_are_saved(root):
    tokens = {"battles": str(root / "store" / "battles.abc"), "test_pairs": str(root / "store" / "test_pairs.def")}
    dataset(root).save(tokens)
    assert dataset(root).load() == tokens
    assert json.loads((root / "tokens.json").read_text()) == {"battles": "battles.abc", "test_pairs": "test_pairs.def"}


def test_a_data_folder_can_be_moved(root, tmp_path):
    dataset(root).save({"battles": str(root / "store" / "battles.abc")})
    moved = tmp_path / "elsewhere"
    shutil.move(root, moved)
    assert dataset(moved).load() == {"battles": str(moved / "store" / "battles.abc")}
    assert not dataset(moved).lacks_tables()


@pytest.mark.parametrize("lost", ["battles.abc", "battles.abc/manifest.json"])
def test_a_table_that_is_gone_or_incomplete_is_noticed(root, lost):
    dataset(root).save({"battles": str(root / "store" / "battles.abc")})
    assert not dataset(root).lacks_tables()
    path = root / "store" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert dataset(root).lacks_tables()
