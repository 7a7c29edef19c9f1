"""Kedro's session, but one run at a time in a data folder, and one that runs what is not up to date."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner, SequentialRunner

from wsdm_arena.errors import UserError
from wsdm_arena.freshness.runner import UpToDateRunner
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.entry_names import untranscoded

logger = logging.getLogger(__name__)

_FILTERS = ("tags", "node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs")


class UpToDateSession(KedroSession):
    """``kedro run``, and ``session.run()`` after ``%load_ext kedro.ipython``: work that is done is not done again.

    A runner that is named is used as it is; Kedro's default one gives way to
    :class:`~wsdm_arena.freshness.runner.UpToDateRunner`.
    """

    def run(  # type: ignore[override]  # the other arguments are handed on as they are
        self,
        pipeline_name: str | None = None,
        pipeline_names: list[str] | None = None,
        tags: Iterable[str] | None = None,
        runner: AbstractRunner | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a pipeline, see :meth:`kedro.framework.session.KedroSession.run`.

        Raises:
            click.ClickException: Nothing was run, and the message says what to do.
        """
        names = [pipeline_name] if pipeline_name else pipeline_names
        self._check_selection(names or ["__default__"], {"tags": tags, **options})
        loader = self._get_config_loader()
        data_root = Path(self._project_path, loader["globals"]["data_root"])
        with (
            _locked(data_root),
            _environment_variable("KEDRO_ENV", loader.env or settings.CONFIG_LOADER_ARGS["default_run_env"]),
        ):
            if runner is None or type(runner) is SequentialRunner:
                runner = UpToDateRunner(data_root, self._git_commit())
            try:
                return super().run(pipeline_names=names, tags=tags, runner=runner, **options)
            except KeyboardInterrupt:
                logger.warning(
                    "Stopped. The same command goes on: what is done is kept, a training from its last state"
                )
                raise

    def _check_selection(self, names: list[str], options: dict[str, Any]) -> None:
        """Name what does not exist, where Kedro would show a traceback."""
        self.load_context()  # whoever takes part decides which nodes there are
        for name in names:
            if name not in pipelines:
                like = get_close_matches(name, pipelines) or sorted(pipelines)
                raise click.UsageError(
                    f"there is no pipeline {name!r}; nothing was run. Did you mean {', '.join(like)}?"
                )
        whole = sum((pipelines[name] for name in names), start=Pipeline([]))
        if not whole.nodes:
            raise click.UsageError(
                f"{', '.join(names)}: there is nothing to run, as there are no students; name some in roster.students"
            )
        try:
            whole.filter(**{key: options.get(key) for key in _FILTERS}, node_namespaces=options.get("namespaces"))
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise click.UsageError(f"nothing was run: {reason}. {_similar(whole, options)}".strip()) from None

    def _git_commit(self) -> str | None:
        git = self.store.get("git") or {}
        commit = git.get("commit_sha")
        return f"{commit}-dirty" if commit and git.get("dirty") else commit


def _similar(whole: Pipeline, options: dict[str, Any]) -> str:
    """What a misspelt selection may have meant."""
    nodes, entries = {node.name for node in whole.nodes}, {*map(untranscoded, whole.datasets())}
    known = {
        "namespaces": {node.namespace for node in whole.nodes if node.namespace},
        "tags": {tag for node in whole.nodes for tag in node.tags},
        **{option: nodes for option in ("node_names", "from_nodes", "to_nodes")},  # noqa: C420 (never changed)
        **{option: entries for option in ("from_inputs", "to_outputs")},  # noqa: C420
    }
    hints = []
    for option, names in known.items():
        for asked in options.get(option) or ():
            if asked not in names and not any(name.startswith(f"{asked}.") for name in names):
                like = get_close_matches(asked, names) or (sorted(names) if option in ("namespaces", "tags") else [])
                hints.append(f"{asked!r}: did you mean {', '.join(like)}?" if like else f"There is no {asked!r}.")
    return " ".join(hints)


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    """Set a variable for a while; left behind, the next session of a notebook would take it for the user's choice."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextmanager
def _locked(data_root: Path) -> Iterator[None]:
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        lock = lock_directory(data_root, wait_s=0)
        lock.__enter__()
    except (UserError, OSError) as error:
        raise click.ClickException(f"nothing was run: {error}") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
