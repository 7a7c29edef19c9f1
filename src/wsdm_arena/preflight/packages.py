"""Whether language models that come as Python packages are installed."""

from wsdm_arena.modeling.packaged_files import describe_missing
from wsdm_arena.preflight.planned_run import PlannedRun


def check_packages(run: PlannedRun) -> list[str]:
    """One line, with the cure, for each packaged model that would be unpacked and cannot be."""
    packages = run.config.packaged_models.items()
    lines = (describe_missing(package) for name, package in packages if f"packaged_model.{name}" in run.names)
    return [line for line in lines if line is not None]
