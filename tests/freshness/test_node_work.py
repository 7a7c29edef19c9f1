"""What a fingerprint knows."""

from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node

from wsdm_arena.config import BackboneConfig, LauncherConfig, describe_effect
from wsdm_arena.freshness.node_work import describe_work
from wsdm_arena.io.optional_table import OptionalTableDataset
from wsdm_arena.runs.digests import DigestCache

PROJECT = Path(__file__).parents[2]


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


def cascade(first, second) -> None:
    """A node function to which the order of its inputs matters."""


def wired(*names: str, keywords: bool = False) -> str:
    catalog = DataCatalog({name: MemoryDataset(1) for name in names})
    inputs = dict(zip(("first", "second"), names, strict=True)) if keywords else list(names)
    return describe_work(Node(cascade, inputs, None, name="plan"), catalog, DigestCache()).fingerprint


@pytest.mark.parametrize("keywords", [False, True])
def test_who_comes_first_is_part_of_it(keywords):
    assert wired("gemma", "llama", keywords=keywords) == wired("gemma", "llama", keywords=keywords)
    assert wired("gemma", "llama", keywords=keywords) != wired("llama", "gemma", keywords=keywords)


def test_the_order_of_the_students_makes_the_cascades_stale():
    from wsdm_arena.config import RosterConfig
    from wsdm_arena.freshness.node_work import arguments_of
    from wsdm_arena.pipelines import submission

    wirings = [
        {node.name: arguments_of(node) for node in submission.create_pipeline(roster).nodes}
        for roster in (
            RosterConfig(teachers=("gemma",), students=("gemma", "llama")),
            RosterConfig(teachers=("gemma",), students=("llama", "gemma")),
        )
    ]
    changed = {name for name in wirings[0] if wirings[0][name] != wirings[1][name]}
    assert changed == {
        f"submission.{stage}.{step}" for stage in ("student", "final") for step in ("plan", "judge", "analyse")
    }


def test_parameters_of_a_function_without_annotations_count():
    def unannotated(rows, keep, factor):
        return rows

    def fingerprint(factor: int) -> str:
        catalog = DataCatalog(
            {"rows": MemoryDataset(1), "params:keep": MemoryDataset(3), "params:factor": MemoryDataset(factor)}
        )
        node = Node(unannotated, ["rows", "params:keep", "params:factor"], "out", name="n")
        return describe_work(node, catalog, DigestCache()).fingerprint

    assert fingerprint(1) != fingerprint(2)


def test_the_weights_of_a_local_answer_model_count(tmp_path: Path):
    from wsdm_arena.config import AnswerModelConfig

    (tmp_path / "weights").write_text("1")
    model = AnswerModelConfig(engine="transformers", model=str(tmp_path))

    def described() -> object:
        return describe_effect(model, lambda name: DigestCache().digest([Path(name)]))

    first = described()
    (tmp_path / "weights").write_text("2")
    assert described() != first


def test_every_kind_of_work_has_its_number_on_the_nodes_that_do_it():
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    from wsdm_arena.runs import formats, source_code
    from wsdm_arena.runs.formats import result_format_of
    from wsdm_arena.session import UpToDateSession

    bootstrap_project(PROJECT)
    with UpToDateSession.create(PROJECT, env="sample", save_on_close=False) as session:
        session.load_context()  # another test may have handed over another lineup
    nodes = {node.name: node for node in pipelines["__default__"].nodes}
    assert result_format_of(nodes["teacher.gemma.train"].func) == str(formats.TRAINING_FORMAT)
    assert result_format_of(nodes["teacher.gemma.tokenize"].func) == str(formats.TOKENS_FORMAT)
    assert result_format_of(nodes["collected_labels.gemma.score"].func) == str(formats.SCORING_FORMAT)
    assert result_format_of(nodes["export.final.gemma.export"].func) == f"{formats.BUNDLE_FORMAT}.{source_code.CARDS}"
    assert result_format_of(nodes["teacher.gemma.evaluate"].func) == source_code.SCORES
    assert result_format_of(nodes["teacher.gemma.analyse"].func) == source_code.ANALYSES
    assert result_format_of(nodes["report.write"].func) == source_code.ANALYSES
    assert result_format_of(nodes["backbone.gemma"].func) == str(formats.BACKBONE_FORMAT) == "3"
    assert result_format_of(nodes["generate_answers"].func) == str(formats.ANSWERS_FORMAT)
    assert result_format_of(nodes["submission.final.judge"].func) == f"{formats.TOKENS_FORMAT}.1"


def test_a_link_that_leads_nowhere_is_told_and_not_fatal(tmp_path: Path, caplog):
    from wsdm_arena.io.raw_files import RawCheckpointDataset

    (tmp_path / "weights").symlink_to(tmp_path / "nowhere")
    catalog = DataCatalog({"raw": RawCheckpointDataset(filepath=str(tmp_path))})
    found = describe_work(Node(lambda raw: None, "raw", None, name="look"), catalog, DigestCache()).inputs["raw"]
    assert found.digest == "unreadable"
    assert "nowhere" in caplog.text or "weights" in caplog.text
