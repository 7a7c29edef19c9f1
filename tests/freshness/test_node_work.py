"""What a fingerprint knows."""

from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node

from wsdm_arena.config import BackboneConfig, LauncherConfig, describe_effect
from wsdm_arena.freshness.node_work import describe_work
from wsdm_arena.io.optional_table import OptionalTableDataset
from wsdm_arena.runs.digests import DigestCache


def load(backbone: BackboneConfig) -> None:
    """A node function with a typed parameter."""


def work(source: str, *, typed: bool = True):
    value = BackboneConfig(source=source)
    catalog = DataCatalog({"params:backbone": MemoryDataset(value if typed else value.model_dump())})
    return describe_work(Node(load, "params:backbone", None, name="load"), catalog, DigestCache())


def test_a_backbone_counts_by_its_contents_and_not_by_where_it_lies(tmp_path: Path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("1")
    first = work(str(tmp_path / "here")).fingerprint
    assert work(str(tmp_path / "there")).fingerprint == first
    (tmp_path / "there" / "weights").write_text("2")
    assert work(str(tmp_path / "there")).fingerprint != first


def test_a_name_of_the_hub_counts_as_it_is():
    assert work("google/gemma").parameters["params:backbone"]["source"] == "google/gemma"


def test_parameters_that_kedro_has_not_built_yet_count_the_same():
    assert work("google/gemma", typed=False) == work("google/gemma")


def test_how_a_training_is_launched_is_no_part_of_it():
    assert describe_effect(LauncherConfig(processes_per_node=8)) == {}


@pytest.mark.parametrize("present", [False, True])
def test_an_optional_table_may_be_absent(tmp_path: Path, present):
    dataset = OptionalTableDataset(filepath=str(tmp_path / "truth.parquet"))
    if present:
        (tmp_path / "truth.parquet").write_bytes(b"1")
    catalog = DataCatalog({"truth": dataset})
    found = describe_work(Node(lambda truth: None, "truth", None, name="look"), catalog, DigestCache()).inputs["truth"]
    assert (found.digest == "absent") is not present
