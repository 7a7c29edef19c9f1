"""Versions from the future: the last name is the newest version, so a clock that jumped back would hide results."""

from wsdm_arena.io.contents import path_of, versions_of
from wsdm_arena.preflight.planned_run import PlannedRun


def check_clock(run: PlannedRun) -> list[str]:
    """Refuse a run whose results would be older than some that are there: Kedro would load those in their place."""
    run_id, pinned = str(run.options.get("run_id") or ""), run.options.get("load_versions") or {}
    problems = []
    for name in run.outputs:
        if not run_id or name in pinned:
            continue
        dataset = run.catalog[name]
        later = [version for version in versions_of(dataset) if version > run_id]
        if later and (folder := path_of(dataset)):
            problems.append(
                f"{name}: its version {later[0]} ({folder / later[0]}) is later than this run, "
                f"{run_id}, and would be loaded in place of what this run saves"
            )
    if problems:
        problems.append("set the clock right and run again; if it is right, remove or rename these versions")
    return problems
