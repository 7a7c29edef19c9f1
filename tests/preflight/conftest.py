"""Runs of the real project that are planned, but not begun."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog

from wsdm_arena.config import Lineup, ProjectConfig, deep_merge
from wsdm_arena.pipeline_registry import use_lineup
from wsdm_arena.preflight import PlannedRun
from wsdm_arena.processes.gpus import Gpu

PROJECT = Path(__file__).parents[2]
_DATA_ROOT = "/the-data-root"

Plan = Callable[..., PlannedRun]


@cache
def _load(env: str) -> tuple[str, dict[str, Any]]:
    """Catalog of an environment, as JSON with :data:`_DATA_ROOT` in it, and its parameters."""
    bootstrap_project(PROJECT)
    params = {"data_root": _DATA_ROOT}
    with KedroSession.create(PROJECT, env=env, runtime_params=params, save_on_close=False) as session:
        loader = session.load_context().config_loader
        return json.dumps(loader["catalog"]), loader["parameters"]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plan a run in ``tmp_path``: ``plan(["a node"], env="a100", launcher={"device": "cpu"})``."""

    def make(
        nodes: list[str] | None = None,
        *,
        pipeline: str = "__default__",
        env: str = "sample",
        entries: dict[str, Any] | None = None,
        **params: Any,
    ) -> PlannedRun:
        catalog, parameters = _load(env)
        monkeypatch.setenv("KEDRO_ENV", env)
        if use_lineup(Lineup.from_parameters(parameters)):
            pipelines.configure("wsdm_arena.pipeline_registry")
        described = json.loads(catalog.replace(_DATA_ROOT, tmp_path.as_posix()))
        tree = {key: value for key, value in parameters.items() if key in ProjectConfig.model_fields}
        return PlannedRun(
            pipeline=pipelines[pipeline] if nodes is None else pipelines[pipeline].only_nodes(*nodes),
            catalog=DataCatalog.from_config(deep_merge(described, entries or {})),
            config=ProjectConfig.model_validate(deep_merge(tree, params)),
            data_root=tmp_path,
            project=PROJECT,
            env=env,
            options={"run_id": "2026-01-02T00.00.00.000Z", "runner": "SequentialRunner", "env": env},
        )

    return make


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that there are GPUs of so many GiB: ``gpus(80, 80)``."""

    def pretend(*sizes: float) -> None:
        found = [Gpu(str(number), int(size * 2**30)) for number, size in enumerate(sizes)]
        monkeypatch.setattr("wsdm_arena.processes.gpus.has_cuda_build", lambda: True)
        monkeypatch.setattr("wsdm_arena.processes.gpus._query", lambda: [(f"GPU-{gpu.name}", gpu) for gpu in found])
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return pretend
