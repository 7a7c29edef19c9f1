"""Runners that would run several nodes at once."""

from wsdm_arena.preflight.planned_run import PlannedRun


def check_runner(run: PlannedRun) -> list[str]:
    """Refuse runners that would train several judges at once on the same devices."""
    runner = str(run.options.get("runner") or "")
    if any(name in runner for name in ("ParallelRunner", "ThreadRunner")):
        return [f"{runner}: trainings share the same devices; run without --runner"]
    return []
