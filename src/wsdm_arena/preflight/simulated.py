"""Raw files that the simulated arena wrote: where it may write, and who may read them."""

from collections.abc import Iterator

from kedro.framework.project import pipelines
from kedro.io import DatasetError

from wsdm_arena.io.raw_files import RawCheckpointDataset, RawShardsDataset
from wsdm_arena.io.raw_table import RawTableDataset
from wsdm_arena.io.simulated_files import SimulatedFile
from wsdm_arena.pipelines import simulated_arena
from wsdm_arena.preflight.planned_run import PlannedRun
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.entry_names import without_parameters

_RAW = (RawTableDataset, RawShardsDataset, RawCheckpointDataset)


def check_simulator(run: PlannedRun) -> list[str]:
    """Refuse to simulate over files of the user, before any file is replaced."""
    problems = []
    written = {*simulated_arena.TABLES, *simulated_arena.UNLABELLED}
    for name in sorted(written & set(run.outputs)):
        dataset = run.catalog[name]
        if isinstance(dataset, RawTableDataset | RawShardsDataset):
            if not dataset.is_inside(run.data_root):
                problems.append(
                    f"{name}: {dataset.filepath} is a path of your own, and the simulated arena writes below "
                    f"{run.data_root} only; leave raw.* away to simulate"
                )
                continue
            try:
                dataset.check_writable()
            except DatasetError as error:
                problems.append(str(error))
    if "write_checkpoints" in run.names:
        problems += _unwritable_checkpoints(run)
    return problems


def _unwritable_checkpoints(run: PlannedRun) -> Iterator[str]:
    from wsdm_arena.simulation.raw_checkpoints import RawCheckpointError, check_replaceable

    folder = run.catalog.load("simulated_checkpoints")
    for judge in simulated_arena.CHECKPOINTS:
        try:
            check_replaceable(folder / judge)
        except RawCheckpointError as error:
            yield str(error)


def check_raw_files(run: PlannedRun) -> list[str]:
    """Refuse raw files that the simulated arena wrote in another environment, wherever the selection begins.

    Files of one's own environment are fine; and so are those of a marker that names none (of an older version) in the
    default environment. A file that was changed since is the user's own.
    """
    lines = []
    sha256 = DigestCache.of(run.data_root).sha256
    for name in _raw_inputs(run):
        dataset = run.catalog[name]
        if not isinstance(dataset, _RAW):
            continue
        foreign = [file for file in dataset.simulated_files(sha256) if not _is_own(file, run)]
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            env = f"env {foreign[0].env!r}" if foreign[0].env else "an env that its marker does not name"
            lines.append(f"{name}: the simulated arena wrote {foreign[0].path}{more} in {env}, this is env {run.env!r}")
    if lines:
        lines.append(
            f"cures: fetch the real ones (`kedro fetch --env {run.env}`), name files of your own (--params "
            "raw.train=<files>, raw.checkpoints=<folder> and so on), take another data_root, or simulate for this env: "
            f"`kedro run --env {run.env} --pipelines simulated_arena`"
        )
    return lines


def _raw_inputs(run: PlannedRun) -> list[str]:
    """Names of the inputs of the selected nodes and of all nodes before them."""
    whole = pipelines["__default__"]
    names = set(run.pipeline.inputs())
    if run.selected <= {node.name for node in whole.nodes}:
        names |= whole.to_nodes(*run.selected).inputs()
    return sorted(name for name in without_parameters(names) if name in run.catalog)


def _is_own(file: SimulatedFile, run: PlannedRun) -> bool:
    return file.env == run.env or (file.env is None and run.env == run.default_env)
