"""What jobs need that the project does not make: answer models' weights, keys and interpreters, backbones by name."""

from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from wsdm_arena.config import ProjectConfig, package_of
from wsdm_arena.generation.availability import describe_unavailable
from wsdm_arena.modeling.packaged_files import describe_missing
from wsdm_arena.planning.jobs import Job


def missing_outside(config: ProjectConfig, jobs: tuple[Job, ...], project: Path) -> list[str]:
    """Say what the jobs that are left lack outside the data folder, one line each; nothing is fetched.

    Args:
        config: The whole tree.
        jobs: Of the plan.
        project: Where relative paths start from.
    """
    left = {job.name for job in jobs if job.state != "there"}
    lines = []
    for judge in config.roster.judges:
        backbone = config.judges[judge].backbone
        is_named = backbone.source is not None and package_of(backbone.source) is None
        if f"backbone.{judge}" in left and is_named and not _is_there(str(backbone.source), backbone.revision):
            lines.append(f"judges.{judge}.backbone.source: {backbone.source} is not in the hub's cache")
    asked = {name: model for name, model in config.generation.answer_models.items() if f"generation.{name}" in left}
    for name, model in asked.items():
        is_named = model.is_local and package_of(model.model) is None
        is_named = is_named and not model.model.startswith(("/", "./", "../", "~"))
        if is_named and not _is_there(model.model, model.revision):
            lines.append(f"generation.answer_models.{name}: {model.model} is not in the hub's cache")
    packages = config.packaged_models.items()
    lacking = (describe_missing(package) for name, package in packages if f"packaged_model.{name}" in left)
    lines += filter(None, lacking)
    return lines + describe_unavailable(config.generation, asked, project)


def _is_there(model: str, revision: str | None) -> bool:
    """Whether it is a directory, or the hub's cache holds its configuration."""
    if Path(model).is_dir():
        return True
    try:
        return isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str)
    except HFValidationError:
        return False
