"""What is checked before any node runs."""

import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline


class PreflightError(click.ClickException):
    """The run cannot work as things stand: one message that says what to do, no traceback."""


class Preflight:
    """Refuses a run that cannot work, in its first seconds."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Validate the whole parameter tree, and let the registry see the environment that runs."""
        os.environ["KEDRO_ENV"] = context.env or context.config_loader.default_run_env
        _ = context.config_loader["parameters"]

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Refuse missing inputs and runners that would train several judges at once."""
        runner = str(run_params.get("runner") or "")
        if any(name in runner for name in ("ParallelRunner", "ThreadRunner")):
            raise PreflightError(f"{runner}: trainings share the same devices; run without --runner")
        catalog["run_context"] = MemoryDataset(describe_run_context(run_params))
        if missing := _missing_inputs(pipeline, catalog):
            raise PreflightError("inputs are missing; nothing was run\n" + "\n".join(missing))


def describe_run_context(run_params: dict[str, Any]) -> dict[str, str]:
    """What the scoreboard says of where a row comes from: ``run_id``, ``env`` and the ``command`` that repeats it."""
    command = ["kedro", "run"]
    if run_params.get("env"):
        command += ["--env", run_params["env"]]
    for option in ("pipeline_names", "namespaces", "tags", "node_names"):
        if values := run_params.get(option):
            flag = {"pipeline_names": "pipelines", "node_names": "nodes"}.get(option, option)
            command += [f"--{flag}", ",".join(values)]
    if values := run_params.get("runtime_params"):
        command += ["--params", ",".join(f"{key}={value}" for key, value in _flatten(values))]
    return {"run_id": run_params["run_id"], "env": os.environ["KEDRO_ENV"], "command": shlex.join(command)}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _missing_inputs(pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """One line for each input that does not exist: its name, and the command that makes it."""
    makers = {
        output: name
        for name in sorted(pipelines, key=lambda name: -len(pipelines[name].nodes))
        if name != "__default__"
        for output in pipelines[name].all_outputs()
    }
    lines = []
    for name in sorted(pipeline.inputs()):
        if name.startswith("params:") or name == "parameters" or catalog.exists(name):
            continue
        path = getattr(catalog[name], "_filepath", None)
        where = f" ({path})" if path else ""
        how = f"kedro run --pipelines {makers[name]}" if name in makers else "put the file there"
        if name.endswith("_table"):
            how += ", or pass a file of your own: --params raw.train=<file>"
        lines.append(f"  {name}{where}: {how}")
    return lines
