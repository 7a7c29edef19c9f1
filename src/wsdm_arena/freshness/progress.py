"""Trainings that were stopped, and would go on where they are."""

from pathlib import Path
from typing import NamedTuple

from kedro.io import DataCatalog, DatasetError
from kedro.pipeline.node import Node

from wsdm_arena.errors import UserError
from wsdm_arena.freshness.node_work import arguments_of
from wsdm_arena.runs.files import last_json_line
from wsdm_arena.runs.layout import COMPLETE
from wsdm_arena.stages.nodes import train_judge
from wsdm_arena.training.launch import describe_run, run_directory


class Progress(NamedTuple):
    """How far a training is."""

    updates: int
    """Done, as far as the log says; the resume state may be a few behind."""
    all_updates: int


def find_progress(node: Node, catalog: DataCatalog) -> Progress | None:
    """How far a stopped training is that this node would resume; None if there is none, or it is another node.

    All nodes before it must be up to date, or it would train on something else.
    """
    if node.func is not train_judge:
        return None
    try:
        given = {argument: catalog.load(name) for argument, name in arguments_of(node)}
        run = describe_run(
            judge=given["judge"],
            backbone=given["backbone"],
            selection=given["selection"],
            tokens={table: Path(path) for table, path in given["tokens"].items()},
            num_classes=given["preferences"].num_classes,
            seed=given["seed"],
            launcher=given["launcher"],
            initial_checkpoint=given.get("initial_checkpoint"),
        )
    except (DatasetError, UserError, OSError):  # an input is missing or damaged: nothing could be resumed
        return None
    return read_progress(run_directory(run, given["training_runs"]))


def read_progress(run_dir: Path) -> Progress | None:
    """Read the last line of a run's log; None if it has logged nothing, or has ended."""
    log = run_dir / "metrics.jsonl"
    if (run_dir / COMPLETE).exists():
        return None
    logged = last_json_line(log)
    return Progress(logged["update"], logged["updates"]) if logged else None
