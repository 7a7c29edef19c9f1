import typing

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.runner import SequentialRunner

from wsdm_arena import schemas
from wsdm_arena.config import Lineup, PreferencesConfig, RosterConfig, StrictConfig
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.io.table import TableDataset
from wsdm_arena.judging.submission import SubmissionError
from wsdm_arena.pipelines import data_processing

NO_BACKBONES = Lineup(roster=RosterConfig(teachers=("gemma",)), imported=())


def create_pipeline():
    """The tables; importing backbones has tests of its own."""
    whole = data_processing.create_pipeline(NO_BACKBONES)
    return whole.filter(node_names=[node.name for node in whole.nodes if node.namespace is None])


@pytest.fixture
def folder(tmp_path):
    """Ten votes in two files of different formats, one of them with a broken line, and two test pairs."""
    votes = pd.DataFrame(
        {
            "prompt": [f"p{number}" for number in range(10)],
            "response_a": "yes",
            "response_b": "no",
            "winner": ["model_a", "model_b"] * 5,
        }
    )
    votes[:5].to_csv(tmp_path / "first.csv", index=False)
    lines = votes[5:].to_json(orient="records", lines=True)
    (tmp_path / "second.jsonl").write_text(lines + '{"prompt": "half a\n')
    pd.DataFrame({"id": ["x", "y"], "prompt": "p", "response_a": ["a", None], "response_b": ["b", None]}).to_parquet(
        tmp_path / "test.parquet"
    )
    return tmp_path


def _catalog(folder, raw="first.csv,second.jsonl") -> DataCatalog:
    return DataCatalog(
        {
            "train_table": RawTableDataset(filepath=",".join(str(folder / name) for name in raw.split(","))),
            "test_table": RawTableDataset(filepath=str(folder / "test.parquet")),
            "sample_submission": RawTableDataset(
                filepath=str(folder / "sample.csv"), required=False, columns=["id", "winner"]
            ),
            "collected_pairs_table": RawTableDataset(filepath=str(folder / "collected.csv"), required=False),
            "collected_pairs": TableDataset(filepath=str(folder / "out" / "collected_pairs.parquet")),
            "collected_pairs_report": MemoryDataset(),
            "params:preferences": MemoryDataset(PreferencesConfig(num_folds=2)),
            "battles": TableDataset(filepath=str(folder / "out" / "battles.parquet")),
            "test_pairs": TableDataset(filepath=str(folder / "out" / "test_pairs.parquet")),
            "battles_report": MemoryDataset(),
            "language_phases": MemoryDataset(),
            "test_pairs_report": MemoryDataset(),
        }
    )


def test_inputs_and_outputs_are_as_declared():
    pipeline = create_pipeline()
    assert pipeline.inputs() == {
        "train_table",
        "test_table",
        "sample_submission",
        "collected_pairs_table",
        "params:preferences",
    }
    reports = {"battles_report", "test_pairs_report", "collected_pairs_report"}
    assert pipeline.outputs() == {*reports, "language_phases", "collected_pairs"}


def test_a_backbone_is_imported_from_a_raw_checkpoint_or_from_where_the_judge_says():
    lineup = Lineup(roster=RosterConfig(teachers=("gemma", "qwen")), imported=("gemma",))
    inputs = {node.name: set(node.inputs) for node in data_processing.create_pipeline(lineup).nodes}
    assert inputs["backbone.gemma"] == {"raw_checkpoint.gemma", "params:judges.gemma.backbone", "backbone_store"}
    assert inputs["backbone.qwen"] == {"params:judges.qwen.backbone", "backbone_store"}


def test_parameters_have_types_that_kedro_can_validate():
    for node in create_pipeline().nodes:
        hints = typing.get_type_hints(node.func)
        for argument, dataset in zip(hints, node.inputs, strict=False):
            if dataset.startswith("params:"):
                assert issubclass(hints[argument], StrictConfig)


def test_files_become_saved_tables_that_keep_their_schema(folder):
    catalog = _catalog(folder)
    SequentialRunner().run(create_pipeline(), catalog)
    battles = schemas.Battles.validate(catalog.load("battles"), lazy=True)
    pairs = schemas.TestPairs.validate(catalog.load("test_pairs"), lazy=True)
    assert battles["source"].value_counts().to_dict() == {"first": 5, "second": 5}
    assert battles["fold"].value_counts().tolist() == [5, 5]
    assert pairs["id"].tolist() == ["x", "y"]
    report = catalog.load("battles_report")
    assert report["dropped"] == {"the row cannot be read": 1}
    assert report["rows"][0]["file"] == str(folder / "second.jsonl")


def test_a_missing_file_stops_the_run_with_where_it_comes_from(folder):
    with pytest.raises(DatasetError, match=r"absent\.parquet: no such file\. Correct the path in raw\.train"):
        SequentialRunner().run(create_pipeline(), _catalog(folder, raw="absent.parquet"))


def test_a_sample_submission_for_other_test_pairs_is_refused_at_once(folder):
    (folder / "sample.csv").write_text("id,winner\nx,model_a\nother,model_a\n")
    with pytest.raises(SubmissionError, match="other"):
        SequentialRunner().run(create_pipeline(), _catalog(folder))
