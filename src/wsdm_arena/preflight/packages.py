"""Whether language models that come as Python packages are installed, and are those that are meant."""

from wsdm_arena.modeling.packaged_files import describe_changed, describe_missing
from wsdm_arena.preflight.planned_run import PlannedRun


def check_packages(run: PlannedRun) -> list[str]:
    """One line, with the cure, for each packaged model that would be unpacked and cannot be."""
    packages = run.config.packaged_models.items()
    unpacked = [package for name, package in packages if f"packaged_model.{name}" in run.names]
    lines = (describe_missing(package) or describe_changed(package) for package in unpacked)
    return [line for line in lines if line is not None]
