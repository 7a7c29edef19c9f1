"""All pipelines by name.

The registry is explicit: ``find_pipelines()`` loads only what a command asks for, so sums over it would shrink in
silence.
"""

import os
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from wsdm_arena.config import Lineup
from wsdm_arena.pipelines import (
    data_processing,
    export,
    finetuning,
    pair_generation,
    pretraining,
    pseudo_labeling,
    reporting,
    simulated_arena,
    submission,
)

_handed_over: list[Lineup] = []


def use_lineup(lineup: Lineup) -> bool:
    """Build the pipelines for this lineup from now on; a hook calls it with that of the session that runs.

    Returns:
        Whether it is another one than before.
    """
    is_new = _handed_over != [lineup]
    _handed_over[:] = [lineup]
    return is_new


def load_lineup() -> Lineup:
    """Who takes part: as handed over, else as the parameters of the environment in ``KEDRO_ENV`` say."""
    if _handed_over:
        return _handed_over[0]
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=os.environ.get("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
    )
    return Lineup.from_parameters(loader["parameters"])


def register_pipelines() -> dict[str, Pipeline]:
    """Build every pipeline; ``__default__`` is all of them in data order, but for the simulated arena.

    ``finetuning`` is everything between its first and its last node: its stages have no edges among themselves, so run
    alone they would be trained in alphabetical order on what an earlier run labelled.
    """
    lineup = load_lineup()
    roster = lineup.roster
    stages = {stage: finetuning.create_stage(stage, roster) for stage in finetuning.STAGES}
    parts = {
        "data_processing": data_processing.create_pipeline(lineup),
        **stages,
        "pseudo_labeling": pseudo_labeling.create_pipeline(roster),
        "pair_generation": pair_generation.create_pipeline(lineup) if roster.students else Pipeline([]),
        "pretraining": pretraining.create_pipeline(roster),
        "export": export.create_pipeline(roster),
        "submission": submission.create_pipeline(roster),
        "reporting": reporting.create_pipeline(roster),
    }
    everything = sum(parts.values(), start=Pipeline([]))
    return {
        **parts,
        "finetuning": convex_hull(everything, finetuning.create_pipeline(roster)),
        "simulated_arena": simulated_arena.create_pipeline(),
        "simulated_checkpoints": simulated_arena.create_checkpoints(),
        "__default__": everything,
    }


def convex_hull(whole: Pipeline, part: Pipeline) -> Pipeline:
    """``part`` and every node of ``whole`` on a path between two of its nodes."""
    names = [node.name for node in part.nodes]
    return whole.from_nodes(*names) & whole.to_nodes(*names)
