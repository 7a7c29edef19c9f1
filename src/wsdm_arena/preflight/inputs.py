"""Inputs that are not there, and what makes them."""

import logging

from kedro.framework.project import pipelines

from wsdm_arena.io.raw_files import RawCheckpointDataset, RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.preflight.planned_run import PlannedRun

logger = logging.getLogger(__name__)


def check_inputs(run: PlannedRun) -> list[str]:
    """One line for each input that does not exist: its name, and the command that makes it."""
    makers = {
        _untranscoded(output): name
        for name in sorted(pipelines, key=lambda name: -len(pipelines[name].nodes))
        if name != "__default__"
        for output in pipelines[name].all_outputs()
    }
    lines: list[str] = []
    named = set()
    for name in run.missing_inputs:
        dataset = run.catalog[name]
        if isinstance(dataset, RawTableDataset | RawShardsDataset | RawCheckpointDataset):
            lines.append(f"{name}: {dataset.describe_absence()}")
            continue
        maker = makers.get(_untranscoded(name))
        how = f"kedro run --pipelines {maker}" if maker else "put the file there"
        named.add(maker)
        lines.append(f"{name} ({getattr(dataset, '_filepath', 'in memory')}): {how}")
    if len(named) > 1:  # they may need one another
        lines.append("or all of it, in the right order: kedro run")
    return lines


def warn_of_absent_conversations(run: PlannedRun) -> list[str]:
    """Log, and not after the students' training, that no pair would be generated; no reason to refuse the run."""
    if "mine_prompts" not in run.names:
        return []
    dataset = run.catalog["conversations"]
    if isinstance(dataset, RawShardsDataset) and (absence := dataset.describe_absence()):
        logger.warning("no pairs will be generated: conversations: %s", absence)
    return []


def _untranscoded(name: str) -> str:
    """``selection`` of ``selection@path``."""
    return name.partition("@")[0]
