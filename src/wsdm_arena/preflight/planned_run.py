"""A run as it is about to begin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from wsdm_arena.config import ProjectConfig, ResolvedJudge
from wsdm_arena.freshness.states import NodeState
from wsdm_arena.runs.entry_names import without_parameters

_LABELLED_BY = {"collected_labels": "teacher", "generated_labels": "student"}
"""In which stage the judges that score a table for labels were trained, by the labels' namespace."""


class PreflightError(click.ClickException):
    """The run cannot work as things stand: one message that says what to do, no traceback."""


@dataclass(frozen=True)
class PlannedRun:
    """A run as it is about to begin.

    Attributes:
        pipeline: What was selected.
        catalog: Of this run, which knows the versions that it would save.
        config: The parameters.
        data_root: Where data lies; absolute.
        project: The project's directory.
        env: Environment that runs.
        options: Kedro's ``run_params``.
        to_run: Names of the selected nodes that would run, where the others are up to date; None: all of them.
        default_env: Environment of runs that name none.
        states: How things stand with all nodes of the project, where that is known.
    """

    pipeline: Pipeline
    catalog: DataCatalog
    config: ProjectConfig
    data_root: Path
    project: Path
    env: str
    options: Mapping[str, Any]
    to_run: frozenset[str] | None = None
    default_env: str = "sample"
    states: Mapping[str, NodeState] = field(default_factory=dict)

    @cached_property
    def selected(self) -> frozenset[str]:
        """Names of the selected nodes."""
        return frozenset(node.name for node in self.pipeline.nodes)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Selected nodes that would run."""
        return tuple(node for node in self.pipeline.nodes if self.to_run is None or node.name in self.to_run)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the nodes that would run."""
        return frozenset(node.name for node in self.nodes)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Catalog names of what would be saved, sorted."""
        return tuple(sorted({name for node in self.nodes for name in node.outputs if name in self.catalog}))

    @cached_property
    def trained(self) -> tuple[ResolvedJudge, ...]:
        """Judges that would be trained, in their stage."""
        return tuple(
            self.config.resolve(training.stage, training.judge)
            for training in self.config.roster.trainings()
            if f"{training}.train" in self.names
        )

    @cached_property
    def scored(self) -> tuple[ResolvedJudge, ...]:
        """Judges that would score a table of pairs, in the stage they were trained in."""
        return tuple(
            self.config.resolve(stage, judge)
            for labels, stage in _LABELLED_BY.items()
            for judge in self.config.roster.judges_of(stage)
            if f"{labels}.{judge}.score" in self.names
        )

    @cached_property
    def missing_inputs(self) -> tuple[str, ...]:
        """Names of what the selected nodes read, none of them makes and is not there; sorted."""
        # The run's context is saved by a hook, once nothing stands in the way.
        read = (name for name in without_parameters(self.pipeline.inputs()) if name != "run_context")
        return tuple(sorted(name for name in read if not self.catalog.exists(name)))

    @property
    def judges_test_pairs(self) -> bool:
        """Whether a cascade would read the test pairs."""
        return any(f"submission.{stage}.judge" in self.names for stage in ("student", "final"))
