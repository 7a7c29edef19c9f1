"""All pipelines: what they are wired to exists, is typed and is kept."""

import inspect
import os
from pathlib import Path
from typing import get_type_hints

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from pydantic import BaseModel

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


def test_the_default_pipeline_has_every_stage_but_the_simulated_arena(pipelines):
    names = {node.name for node in pipelines["__default__"].nodes}
    assert "simulate" not in names
    for judge in ("gemma", "gemma_large", "llama"):
        assert {f"teacher.{judge}.{step}" for step in ("select", "tokenize", "train", "evaluate")} <= names
    assert {"build_battles", "build_test_pairs", "build_scoreboard"} <= names


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
            assert hint is int or issubclass(hint, BaseModel), (node.name, argument, hint)
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
