"""All pipelines by name.

The registry is explicit: ``find_pipelines()`` loads only what a command asks for, so sums over it would shrink in
silence.
"""

import os
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines import data_processing, finetuning, reporting, simulated_arena

_handed_over: list[RosterConfig] = []


def use_roster(roster: RosterConfig) -> None:
    """Build the pipelines for this roster; a hook calls it with that of the session that runs."""
    _handed_over[:] = [roster]


def load_roster() -> RosterConfig:
    """Who takes part: as handed over, else as the parameters of the environment in ``KEDRO_ENV`` say."""
    if _handed_over:
        return _handed_over[0]
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=os.environ.get("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
    )
    return RosterConfig.model_validate(loader["parameters"]["roster"])


def register_pipelines() -> dict[str, Pipeline]:
    """Build every pipeline; ``__default__`` is all of them in data order, but for the simulated arena."""
    roster = load_roster()
    parts = {
        "data_processing": data_processing.create_pipeline(),
        "finetuning": finetuning.create_pipeline(roster),
        "reporting": reporting.create_pipeline(roster),
    }
    return {
        **parts,
        "teacher": parts["finetuning"].only_nodes_with_namespaces(["teacher"]),
        "simulated_arena": simulated_arena.create_pipeline(),
        "__default__": sum(parts.values(), start=Pipeline([])),
    }
