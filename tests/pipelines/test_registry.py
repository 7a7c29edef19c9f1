"""All pipelines: what they are wired to exists, is typed and is kept."""

import inspect
import os
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from pydantic import BaseModel

from wsdm_arena.config import Lineup

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["sample", "a100"])
def context(request, tmp_path_factory):
    before = os.environ.get("KEDRO_ENV")
    bootstrap_project(PROJECT)
    root = tmp_path_factory.mktemp("root")
    with KedroSession.create(PROJECT, env=request.param, runtime_params={"data_root": str(root)}) as session:
        yield session.load_context()
    os.environ.pop("KEDRO_ENV", None)
    if before is not None:
        os.environ["KEDRO_ENV"] = before


@pytest.fixture(scope="module")
def pipelines(context):
    from wsdm_arena.pipeline_registry import register_pipelines

    return register_pipelines()


@pytest.fixture(scope="module")
def small_llm(tmp_path_factory):
    """Pipelines and catalog of the environment whose models come as packages."""
    from wsdm_arena.pipeline_registry import register_pipelines

    bootstrap_project(PROJECT)
    root = tmp_path_factory.mktemp("small_llm")
    with (
        pytest.MonkeyPatch.context() as patch,
        KedroSession.create(PROJECT, env="small_llm", runtime_params={"data_root": str(root)}) as session,
    ):
        context = session.load_context()
        lineup = Lineup.from_parameters(context.config_loader["parameters"])
        patch.setattr("wsdm_arena.pipeline_registry._handed_over", [lineup])
        yield register_pipelines(), context.catalog


TRAININGS = (
    "teacher.gemma",
    "teacher.gemma_large",
    "teacher.llama",
    "student.gemma",
    "student.llama",
    "pretraining.gemma",
    "pretraining.llama",
    "final.gemma",
    "final.llama",
    "final_held_out.gemma",
)


def names_of(pipeline) -> set[str]:
    return {node.name for node in pipeline.nodes}


def position(pipeline) -> dict[str, int]:
    """In which order a sequential runner comes to the nodes."""
    return {node.name: number for number, node in enumerate(pipeline.nodes)}


def test_the_default_pipeline_has_every_stage_but_the_simulated_arena(pipelines):
    names = names_of(pipelines["__default__"])
    assert not names & names_of(pipelines["simulated_arena"])
    for training in TRAININGS:
        assert {f"{training}.{step}" for step in ("select", "tokenize", "train", "evaluate")} <= names
    assert {f"backbone.{judge}" for judge in ("gemma", "gemma_large", "llama")} <= names
    assert {"mine_prompts", "generate_answers", "collected_labels.combine", "generated_labels.combine"} <= names
    assert {f"submission.{stage}.submit" for stage in ("student", "final")} <= names
    assert {f"export.{stage}.{judge}.export" for stage in ("student", "final") for judge in ("gemma", "llama")} <= names
    assert {"build_battles", "build_test_pairs", "build_scoreboard"} <= names


def test_one_training_node_a_stage_and_judge(pipelines):
    trained = [node.name for node in pipelines["__default__"].nodes if node.func.__name__ == "train_judge"]
    assert sorted(trained) == sorted(f"{training}.train" for training in TRAININGS)


def test_everything_comes_in_data_order(pipelines):
    at = position(pipelines["__default__"])
    for before, after in (
        ("backbone.gemma", "teacher.gemma.train"),
        ("teacher.llama.train", "collected_labels.combine"),
        ("collected_labels.combine", "student.gemma.train"),
        ("build_collected_pairs", "mine_prompts"),
        ("student.llama.train", "generated_labels.combine"),
        ("build_generated_pairs", "generated_labels.combine"),
        ("generated_labels.combine", "pretraining.gemma.train"),
        ("pretraining.llama.train", "final.llama.train"),
        ("pretraining.gemma.train", "final_held_out.gemma.train"),
        ("final.llama.train", "export.final.llama.export"),
        ("export.final.gemma.export", "submission.final.judge"),
        ("submission.final.evaluate", "build_scoreboard"),
    ):
        assert at[before] < at[after], (before, after)


def test_finetuning_is_everything_between_its_first_and_its_last_node(pipelines):
    names = names_of(pipelines["finetuning"])
    for stage in ("teacher", "student", "pretraining", "final", "final_held_out"):
        assert any(name.startswith(f"{stage}.") for name in names), stage
    assert {"collected_labels.combine", "generated_labels.combine"} <= names
    outside = ("data_processing", "export", "submission", "reporting", "pair_generation")
    for name in outside:
        assert not names & names_of(pipelines[name]), name
    at = position(pipelines["finetuning"])
    assert (
        at["teacher.llama.train"] < at["student.llama.train"] < at["pretraining.llama.train"] < at["final.llama.train"]
    )


def test_several_pipelines_named_together_come_in_data_order(pipelines):
    at = position(pipelines["pretraining"] + pipelines["pseudo_labeling"] + pipelines["pair_generation"])
    assert at["build_generated_pairs"] < at["generated_labels.combine"] < at["pretraining.gemma.select"]


def test_without_students_only_teachers_are_trained(context):
    from wsdm_arena import pipeline_registry
    from wsdm_arena.config import Lineup

    lineup = pipeline_registry.load_lineup()
    roster = lineup.roster.model_copy(update={"students": (), "final_held_out": ()})
    pipeline_registry.use_lineup(Lineup(roster=roster, imported=lineup.imported))
    try:
        names = names_of(pipeline_registry.register_pipelines()["__default__"])
    finally:
        pipeline_registry.use_lineup(lineup)
    assert "teacher.gemma_large.train" in names
    assert "build_scoreboard" in names
    stages = {name.partition(".")[0] for name in names if "." in name}
    assert stages == {"teacher", "backbone", "baseline", "report"}


def test_a_roster_without_the_large_teacher_labels_with_the_others(context):
    from wsdm_arena import pipeline_registry
    from wsdm_arena.config import Lineup

    lineup = pipeline_registry.load_lineup()
    roster = lineup.roster.model_copy(update={"teachers": ("gemma", "llama")})
    pipeline_registry.use_lineup(Lineup(roster=roster, imported=lineup.imported))
    try:
        built = pipeline_registry.register_pipelines()["__default__"]
    finally:
        pipeline_registry.use_lineup(lineup)
    combine = next(node for node in built.nodes if node.name == "collected_labels.combine")
    assert {"collected_labels.gemma.predictions", "collected_labels.llama.predictions"} <= set(combine.inputs)
    assert not [name for name in names_of(built) if "gemma_large" in name]


def test_every_dataset_is_an_entry_of_the_catalog(context, pipelines):
    catalog = context.catalog
    for name in sorted(pipelines["__default__"].datasets() | pipelines["simulated_arena"].datasets()):
        if not name.startswith(("params:", "parameters")):
            assert name in catalog, f"{name} would live in memory only"


def test_every_parameter_of_a_node_is_typed_and_in_the_tree(context, pipelines):
    parameters = {name for name in context.catalog.keys() if name.startswith("params:")}  # noqa: SIM118
    typed = 0
    for node in pipelines["__default__"].nodes + pipelines["simulated_arena"].nodes:
        hints = get_type_hints(node.func)
        arguments = node._inputs if isinstance(node._inputs, dict) else None
        names = list(inspect.signature(node.func).parameters)
        for position, dataset in enumerate(node.inputs):
            if not dataset.startswith("params:"):
                continue
            assert dataset in parameters, dataset
            argument = next(k for k, v in arguments.items() if v == dataset) if arguments else names[position]
            hint = hints[argument]
            assert hint in (int, dict[str, Any]) or issubclass(hint, BaseModel), (node.name, argument, hint)
            typed += 1
    assert typed > 10


def test_every_path_lies_under_the_data_root(context):
    root = context.config_loader["globals"]["data_root"]
    for name, entry in context.config_loader["catalog"].items():
        if path := entry.get("filepath"):
            assert str(path).startswith(root), name


def test_checkpoints_tables_and_scores_of_judges_are_versioned(context):
    entries = context.config_loader["catalog"]
    for kind in ("checkpoint", "predictions", "tokens", "scores", "training_metrics"):
        assert entries[f"{{stage}}.{{judge}}.{kind}"]["versioned"] is True
    assert entries["{stage}.{judge}.selection@pandas"]["versioned"] is True
    assert entries["{stage}.{judge}.selection@path"]["versioned"] is True


def test_packaged_models_are_unpacked_once_for_judges_and_answers(small_llm):
    pipelines, catalog = small_llm
    nodes = {node.name: node for node in pipelines["__default__"].nodes}
    for judge, package in (("gemma", "gemma3_270m"), ("llama", "smollm2_135m")):
        entry = f"packaged_model.{package}"
        assert nodes[entry].outputs == [entry]
        assert entry in nodes[f"backbone.{judge}"].inputs
        assert f"raw_checkpoint.{judge}" not in nodes[f"backbone.{judge}"].inputs
        assert f"package_{package}=packaged_model.{package}" in arguments_of(nodes["generate_answers"])
        assert entry in catalog
    assert not any("gemma_large" in name for name in nodes)
    order = position(pipelines["__default__"])
    assert order["packaged_model.smollm2_135m"] < order["backbone.llama"] < order["teacher.llama.tokenize"]


def test_cards_of_what_models_answered_are_told_of_these_models(pipelines):
    nodes = {node.name: node for node in pipelines["__default__"].nodes}
    cards = ["report.describe_generated_pairs", *(name for name in nodes if name.startswith("export.final."))]
    cards = [name for name in cards if not name.endswith(".calibrate")]
    assert len(cards) > 2
    for name in cards:
        told = {"generation=params:generation", "packaged_models=params:packaged_models"}
        assert told <= arguments_of(nodes[name]), name


def test_no_other_environment_unpacks_packages(pipelines):
    assert not any(name.startswith("packaged_model.") for name in names_of(pipelines["__default__"]))


def arguments_of(node) -> set[str]:
    return {f"{argument}={entry}" for argument, entry in node._inputs.items()}
