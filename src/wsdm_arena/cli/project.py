"""What every command needs of the project, in the environment and with the parameters that it is given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
from kedro.framework.cli.utils import _split_params
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from wsdm_arena.config import ProjectConfig
from wsdm_arena.config_loader import COMPUTED, LocalLastConfigLoader
from wsdm_arena.errors import UserError
from wsdm_arena.session import UpToDateSession
from wsdm_arena.settings import CONFIG_LOADER_ARGS

Command = Callable[..., Any]


@dataclass(frozen=True)
class Project:
    """One environment of the project."""

    path: Path
    """The project's directory."""
    env: str
    data_root: Path
    """Absolute."""
    catalog: DataCatalog
    pipeline: Pipeline
    """``__default__``: everything but the simulated arena."""
    parameters: dict[str, Any]
    """The validated tree, with what is computed from it."""
    config: ProjectConfig
    """The same, typed."""


def project_options(command: Command) -> Command:
    """Add ``--env`` and ``--params``, as ``kedro run`` has them; they stand after a command's own options."""
    env = click.option(
        "--env",
        "-e",
        help=f"Environment, a folder of conf/. Defaults to $KEDRO_ENV, or {CONFIG_LOADER_ARGS['default_run_env']}.",
    )
    params = click.option(
        "--params",
        default="",
        # Private in Kedro, which has no other parser of what `kedro run --params` takes.
        callback=_split_params,
        help="Parameters of this call, as for kedro run: key=value,key.inner=value.",
    )
    return env(params(command))


def json_option(what: str = "one JSON document") -> Callable[[Command], Command]:
    """Add ``--json``, which becomes the argument ``as_json``.

    Args:
        what: Is printed then; see :func:`wsdm_arena.cli.console.print_json`.
    """
    return click.option("--json", "as_json", is_flag=True, help=f"For machines: print {what}, and no tables.")


@contextmanager
def open_project(env: str | None, params: dict[str, Any]) -> Iterator[Project]:
    """Load configuration, catalog and pipelines; nothing is run, and no torch is imported.

    Raises:
        click.ClickException: Something that the user can cure, in one message.
    """
    path = find_kedro_project(Path.cwd()) or Path.cwd()
    try:
        with UpToDateSession.create(project_path=path, env=env, runtime_params=params, save_on_close=False) as session:
            context = cast(UpToDateSession, session).load_context()
            loader = cast(LocalLastConfigLoader, context.config_loader)
            tree = {key: value for key, value in loader["parameters"].items() if key not in COMPUTED}
            yield Project(
                path=path,
                env=context.env or loader.default_run_env,
                data_root=Path(path, loader["globals"]["data_root"]),
                catalog=cast(DataCatalog, context.catalog),
                pipeline=pipelines["__default__"],
                parameters=loader["parameters"],
                config=ProjectConfig.model_validate(tree),
            )
    except (UserError, OSError) as error:  # a file that cannot be read, a disk that is full: the message names it
        raise click.ClickException(str(error)) from None
