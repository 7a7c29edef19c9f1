"""What is checked before any node runs."""

import errno
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines, settings
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from wsdm_arena.config import GenerationConfig, Lineup
from wsdm_arena.errors import UserError
from wsdm_arena.io.raw_files import RawCheckpointDataset, RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.pipeline_registry import convex_hull, use_lineup
from wsdm_arena.pipelines import simulated_arena

logger = logging.getLogger(__name__)


class PreflightError(click.ClickException):
    """The run cannot work as things stand: one message that says what to do, no traceback."""


class RunFailed(click.ClickException):
    """A node met something that the user can cure."""


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""No space, no quota, read-only, no permission: the system's message names the file."""


class Preflight:
    """Refuses a run that cannot work, in its first seconds."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Validate the whole parameter tree, and let the registry see the environment that runs."""
        os.environ["KEDRO_ENV"] = context.env or settings.CONFIG_LOADER_ARGS["default_run_env"]
        if use_lineup(Lineup.from_parameters(context.config_loader["parameters"])):
            pipelines.configure("wsdm_arena.pipeline_registry")  # or those of an earlier session would be kept

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Refuse missing inputs and runners that would train several judges at once."""
        runner = str(run_params.get("runner") or "")
        if any(name in runner for name in ("ParallelRunner", "ThreadRunner")):
            raise PreflightError(f"{runner}: trainings share the same devices; run without --runner")
        written = pipeline.all_outputs() & {*simulated_arena.TABLES, *simulated_arena.UNLABELLED}
        for name in sorted(written):
            if isinstance(dataset := catalog[name], RawTableDataset | RawShardsDataset):
                _check_writable(dataset)  # all of them before any is replaced
        if "write_checkpoints" in {node.name for node in pipeline.nodes}:
            _check_checkpoints_writable(catalog.load("simulated_checkpoints"))
        _warn_of_gaps(pipeline)
        if "generate_answers" in {node.name for node in pipeline.nodes} and catalog.exists("conversations"):
            _check_answer_models(catalog)
        catalog.save("run_context", describe_run_context(run_params))
        if missing := _missing_inputs(pipeline, catalog):
            options = _shared_options(run_params)
            repeat = f"\nGive these commands this one's options, too: {options}" if options else ""
            raise PreflightError("inputs are missing; nothing was run\n" + "\n".join(missing) + repeat)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Say in one message what the user can cure, instead of a traceback."""
        if (mistake := _find_mistake(error)) is not None:
            logger.debug("", exc_info=error)
            raise RunFailed(str(mistake)) from None


def _find_mistake(error: BaseException) -> BaseException | None:
    """The error that a user can cure among the causes of an error; Kedro wraps what a dataset raises."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, UserError):
            return link
    last = chain[-1]
    if isinstance(last, OSError) and last.errno in _DISK_ERRORS:
        return last
    # What a dataset of ours says itself, and tables that are not what they should be.
    return next((link for link in reversed(chain) if isinstance(link, DatasetError)), None)


def _check_writable(dataset: RawTableDataset | RawShardsDataset) -> None:
    try:
        dataset.check_writable()
    except DatasetError as error:
        raise PreflightError(str(error)) from None


def _check_checkpoints_writable(folder: Path) -> None:
    from wsdm_arena.simulation.raw_checkpoints import RawCheckpointError, check_replaceable

    try:
        for judge in ("gemma", "llama"):
            check_replaceable(folder / judge)
    except RawCheckpointError as error:
        raise PreflightError(str(error)) from None


def _check_answer_models(catalog: DataCatalog) -> None:
    """Say in the first seconds, and not after the teachers' training, that nobody can answer."""
    generation = GenerationConfig.model_validate(catalog.load("params:generation"))
    asked = dict.fromkeys(name for round_ in generation.rounds.values() for name in round_.answer_models)
    engines = {generation.answer_models[name].engine for name in asked}
    problems = [
        f"generation.answer_models.{name}: environment variable {variable} is not set"
        for name in asked
        if (variable := generation.answer_models[name].api_key_variable) and variable not in os.environ
    ]
    if (
        "vllm" in engines
        and not (find_kedro_project(Path.cwd()) or Path.cwd()).joinpath(generation.vllm.python).exists()
    ):
        problems.append(
            f"generation.vllm.python: {generation.vllm.python} is not there; vLLM needs an environment of its own"
        )
    if "simulator" in engines and catalog.load("conversations") and catalog.load("simulated_prompts").empty:
        problems.append(
            "generation.rounds: simulated models know the simulated arena's prompts only, and these are other "
            "conversations; name answer models of your own"
        )
    if problems:
        raise PreflightError(
            "pairs cannot be generated; nothing was run\n" + "\n".join(f"  {line}" for line in problems)
        )


def _warn_of_gaps(pipeline: Pipeline) -> None:
    """Say which nodes lie between the selected ones: these use what an earlier run of those has left."""
    whole = pipelines["__default__"]
    selected = {node.name for node in pipeline.nodes}
    if not selected <= {node.name for node in whole.nodes}:
        return
    between = [node.name for node in convex_hull(whole, pipeline).nodes if node.name not in selected]
    if between:
        logger.warning(
            "%d nodes lie between the selected ones and are not run, such as %s: what they left before is used. "
            "`kedro run` brings everything up to date.",
            len(between),
            ", ".join(sorted(between)[:3]),
        )


_LIST_OPTIONS = {
    "pipeline_names": "--pipelines",
    "namespaces": "--namespaces",
    "tags": "--tags",
    "node_names": "--nodes",
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
}


def describe_run_context(run_params: dict[str, Any]) -> dict[str, str]:
    """What the scoreboard says of where a row comes from: ``run_id``, ``env`` and the ``command`` that repeats it."""
    command = ["kedro", "run"]
    if run_params.get("env"):
        command += ["--env", run_params["env"]]
    for option, flag in _LIST_OPTIONS.items():
        if values := run_params.get(option):
            command += [flag, ",".join(values)]
    if versions := run_params.get("load_versions"):
        command += ["--load-versions", ",".join(f"{name}:{version}" for name, version in versions.items())]
    if values := run_params.get("runtime_params"):
        shown = ((key, "null" if value is None else value) for key, value in _flatten(values))
        command += ["--params", ",".join(f"{key}={value}" for key, value in shown)]
    return {"run_id": run_params["run_id"], "env": os.environ["KEDRO_ENV"], "command": shlex.join(command)}


def _shared_options(run_params: dict[str, Any]) -> str:
    """``--env`` and ``--params`` of a command, as another command needs them to work on the same data."""
    return (
        describe_run_context({"run_id": "", **{key: run_params.get(key) for key in ("env", "runtime_params")}})[
            "command"
        ]
        .removeprefix("kedro run")
        .strip()
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _missing_inputs(pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """One line for each input that does not exist: its name, and the command that makes it."""
    makers = {
        _untranscoded(output): name
        for name in sorted(pipelines, key=lambda name: -len(pipelines[name].nodes))
        if name != "__default__"
        for output in pipelines[name].all_outputs()
    }
    lines = []
    for name in sorted(pipeline.inputs()):
        if name.startswith("params:") or name == "parameters" or catalog.exists(name):
            continue
        dataset = catalog[name]
        if isinstance(dataset, RawTableDataset | RawShardsDataset | RawCheckpointDataset):
            lines.append(f"  {name}: {dataset.describe_absence()}")
            continue
        maker = makers.get(_untranscoded(name))
        how = f"kedro run --pipelines {maker}" if maker else "put the file there"
        lines.append(f"  {name} ({getattr(dataset, '_filepath', 'in memory')}): {how}")
    return lines


def _untranscoded(name: str) -> str:
    """``selection`` of ``selection@path``."""
    return name.partition("@")[0]
