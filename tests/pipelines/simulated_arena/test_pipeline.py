import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.runner import SequentialRunner

from wsdm_arena.config import PreferencesConfig, SimulationConfig
from wsdm_arena.io.optional_table import OptionalTableDataset
from wsdm_arena.io.path import FolderDataset
from wsdm_arena.io.raw_files import RawCheckpointDataset, RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.pipelines.simulated_arena import create_pipeline
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.raw_tables import read_raw_tables
from wsdm_arena.preferences.test_pairs import build_test_pairs
from wsdm_arena.scoring.scoreboard import Measurement, baseline_rows

NAMES = {"train_table": "train.parquet", "test_table": "test.parquet", "sample_submission": "sample_submission.csv"}


def _catalog(folder, seed: int = 0) -> DataCatalog:
    return DataCatalog(
        {
            **{name: RawTableDataset(filepath=str(folder / file)) for name, file in NAMES.items()},
            "simulated_truth": OptionalTableDataset(filepath=str(folder / "simulated_truth.parquet")),
            "simulated_collected_pairs": RawShardsDataset(filepath=str(folder / "collected_pairs")),
            "conversations": RawShardsDataset(filepath=str(folder / "conversations")),
            "simulated_prompts": OptionalTableDataset(filepath=str(folder / "simulated_prompts.parquet")),
            "simulated_checkpoints": FolderDataset(filepath=str(folder / "checkpoints")),
            **{
                f"simulated_checkpoint.{judge}": RawCheckpointDataset(filepath=str(folder / "checkpoints" / judge))
                for judge in ("gemma", "llama")
            },
            "params:simulation": MemoryDataset(
                SimulationConfig(
                    num_battles=400,
                    num_test_pairs=20,
                    num_collected_pairs=30,
                    num_conversations=60,
                    seed=seed,
                    ugly_row_rate=0.2,
                )
            ),
        }
    )


def test_the_arena_can_be_written_twice_and_becomes_battles_with_a_ceiling(tmp_path):
    for seed in (0, 1):
        catalog = _catalog(tmp_path, seed)
        SequentialRunner().run(create_pipeline(), catalog)
    battles, report = build_battles(catalog.load("train_table"), PreferencesConfig())
    truth = catalog.load("simulated_truth")
    pairs, _ = build_test_pairs(catalog.load("test_table"))
    assert report["num_rows"] == 400
    assert report["dropped"]["the answers are identical"] > 0
    assert report["num_pairs"] < report["num_battles"]  # pairs voted on twice
    assert pairs["id"].tolist() == catalog.load("sample_submission")["id"].tolist()
    collected = read_raw_tables(catalog.load("simulated_collected_pairs"))
    assert len(collected) == 30
    assert sum(len(pd.read_parquet(shard)) for shard in catalog.load("conversations")) == 60
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["gemma", "llama"]
    scored = baseline_rows(battles, fold=0, how=Measurement(truth=truth))
    rows = {row["judge"]: row for row in scored[::-1]}
    assert rows["ceiling"]["accuracy"] > rows["tfidf"]["accuracy"]
    assert rows["ceiling"]["num_pairs"] == (battles["fold"] == 0).sum()


def test_a_file_of_the_users_is_left_alone(tmp_path):
    pd.DataFrame({"prompt": ["mine"]}).to_parquet(tmp_path / "train.parquet")
    before = (tmp_path / "train.parquet").read_bytes()
    with pytest.raises(DatasetError, match="was not written by the simulated arena"):
        SequentialRunner().run(create_pipeline(), _catalog(tmp_path))
    assert (tmp_path / "train.parquet").read_bytes() == before
    assert "test.parquet" not in {path.name for path in tmp_path.iterdir()}
