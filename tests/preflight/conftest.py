"""Runs of the real project that are planned, but not begun."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from wsdm_arena.config import ProjectConfig
from wsdm_arena.preflight import PlannedRun
from wsdm_arena.preflight.gpus import Gpu

PROJECT = Path(__file__).parents[2]

Plan = Callable[..., PlannedRun]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plan a run in ``tmp_path``: ``plan(["a node"], env="a100", launcher={"device": "cpu"})``."""
    monkeypatch.setenv("KEDRO_ENV", "sample")
    bootstrap_project(PROJECT)

    def make(nodes: list[str] | None = None, *, pipeline: str = "__default__", env: str = "sample", **params: Any):
        runtime_params = {"data_root": str(tmp_path), **params}
        with KedroSession.create(PROJECT, env=env, runtime_params=runtime_params, save_on_close=False) as session:
            context = session.load_context()
            loader = context.config_loader
            whole: Pipeline = pipelines[pipeline]
            tree = {key: value for key, value in loader["parameters"].items() if key in ProjectConfig.model_fields}
            return PlannedRun(
                pipeline=whole if nodes is None else whole.only_nodes(*nodes),
                catalog=context.catalog,
                config=ProjectConfig.model_validate(tree),
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
        monkeypatch.setattr("wsdm_arena.preflight.gpus.has_cuda_build", lambda: True)
        monkeypatch.setattr("wsdm_arena.preflight.gpus._query", lambda: [(f"GPU-{gpu.name}", gpu) for gpu in found])
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return pretend
