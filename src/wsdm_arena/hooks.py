"""What Kedro calls around a run."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines, settings
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline

from wsdm_arena.config import Lineup, ProjectConfig
from wsdm_arena.errors import UserError
from wsdm_arena.freshness.selection import pending
from wsdm_arena.freshness.states import Freshness, NodeState
from wsdm_arena.io.contents import path_of
from wsdm_arena.pipeline_registry import use_lineup
from wsdm_arena.preflight import PlannedRun, PreflightError, describe_run_context, require_runnable
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.entry_names import is_parameter
from wsdm_arena.runs.ledger import Ledger

logger = logging.getLogger(__name__)


RESULTS = {"report.page": "The report, to be opened in a browser", "scoreboard_table": "All scores"}
"""What people look at first, by entry."""


class RunFailed(click.ClickException):
    """A node met something that the user can cure."""


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""No space, no quota, read-only, no permission: the system's message names the file."""


class Preflight:
    """Refuses a run that cannot work, in its first seconds."""

    _context: KedroContext

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Validate the whole parameter tree, and let the registry see the environment that runs."""
        self._context = context
        if use_lineup(Lineup.from_parameters(context.config_loader["parameters"])):
            pipelines.configure("wsdm_arena.pipeline_registry")  # or those of an earlier session would be kept

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Resolve the names that patterns stand for, so that a notebook's ``catalog.keys()`` lists them all."""
        for name in sorted({name for pipeline in pipelines.values() for name in pipeline.datasets()}):
            if not is_parameter(name):
                catalog.get(name)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Refuse a run in whose way something stands, and say all of it at once."""
        require_runnable(self._plan(run_params, pipeline, catalog))
        catalog.save("run_context", describe_run_context(run_params, self._env))

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Say where what people look at first is, if it was written."""
        for entry, what in RESULTS.items():
            place = path_of(catalog[entry]) if entry in pipeline.outputs() else None
            if place is not None and place.exists():
                logger.info("%s: %s", what, os.path.relpath(place))

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Say in one message what the user can cure, instead of a traceback."""
        if (mistake := _find_mistake(error)) is not None:
            logger.debug("", exc_info=error)
            raise RunFailed(str(mistake)) from None

    @property
    def _env(self) -> str:
        return self._context.env or settings.CONFIG_LOADER_ARGS["default_run_env"]

    def _plan(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> PlannedRun:
        loader, project = self._context.config_loader, Path(self._context.project_path)
        data_root = Path(project, loader["globals"]["data_root"])
        states = _survey(pipeline, catalog, data_root)
        tree = {key: value for key, value in loader["parameters"].items() if key in ProjectConfig.model_fields}
        return PlannedRun(
            pipeline=pipeline,
            catalog=catalog,
            config=ProjectConfig.model_validate(tree),
            data_root=data_root,
            project=project,
            env=self._env,
            options=run_params,
            to_run=pending(states[node.name] for node in pipeline.nodes),
            states=states,
            default_env=settings.CONFIG_LOADER_ARGS["default_run_env"],
        )


def _survey(pipeline: Pipeline, catalog: DataCatalog, data_root: Path) -> dict[str, NodeState]:
    """How things stand with all nodes, where the selected ones are among them; else with the selected ones."""
    whole = pipelines["__default__"]
    is_part = {node.name for node in pipeline.nodes} <= {node.name for node in whole.nodes}
    cache = DigestCache.of(data_root)
    try:
        states = Freshness(catalog, Ledger.of(data_root).done(), cache).survey(whole if is_part else pipeline)
    except OSError as error:
        raise PreflightError(f"nothing was run: {data_root} cannot be read: {error}") from None
    cache.save()
    return states


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
