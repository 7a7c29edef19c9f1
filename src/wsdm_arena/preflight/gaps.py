"""Nodes between the selected ones that are not selected themselves."""

import logging

from kedro.framework.project import pipelines

from wsdm_arena.pipeline_registry import convex_hull
from wsdm_arena.preflight.planned_run import PlannedRun

logger = logging.getLogger(__name__)


def find_gap(run: PlannedRun) -> list[str]:
    """Names of the nodes that lie between the selected ones, sorted: what these left before would be used."""
    whole = pipelines["__default__"]
    if not run.selected <= {node.name for node in whole.nodes}:
        return []
    return sorted(node.name for node in convex_hull(whole, run.pipeline).nodes if node.name not in run.selected)


def warn_of_gap(run: PlannedRun) -> list[str]:
    """Log which nodes lie between the selected ones; no reason to refuse the run."""
    if between := find_gap(run):
        logger.warning(
            "%d nodes lie between the selected ones and are not run, such as %s: what they left before is used. "
            "`kedro run` brings everything up to date.",
            len(between),
            ", ".join(between[:3]),
        )
    return []
