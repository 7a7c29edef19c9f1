"""All checks in their order, and the one message that they make."""

from collections.abc import Callable

from kedro.io import DatasetError

from wsdm_arena.errors import UserError
from wsdm_arena.preflight.answers import check_answer_models
from wsdm_arena.preflight.clock import check_clock
from wsdm_arena.preflight.command import shared_options
from wsdm_arena.preflight.disk import check_space, check_writable
from wsdm_arena.preflight.gaps import check_gap, check_outdated_inputs, check_pinned_versions
from wsdm_arena.preflight.inputs import check_inputs, warn_of_absent_conversations
from wsdm_arena.preflight.kernels import check_kernels
from wsdm_arena.preflight.launcher import check_launcher, check_submission_devices
from wsdm_arena.preflight.packages import check_packages
from wsdm_arena.preflight.planned_run import PlannedRun, PreflightError
from wsdm_arena.preflight.raw_tables import check_raw_tables
from wsdm_arena.preflight.runners import check_runner
from wsdm_arena.preflight.simulated import check_raw_files, check_simulator

Check = Callable[[PlannedRun], list[str]]
"""Returns a line for each problem, with its cure; logs what is no reason to refuse the run."""

MISSING = "inputs are missing"
CHECKS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    ("this runner cannot be used", (check_runner,)),
    ("nothing can be written", (check_writable,)),
    ("the disk is too small", (check_space,)),
    ("files of yours would be lost", (check_simulator,)),
    ("raw files are of another env", (check_raw_files,)),
    (MISSING, (check_inputs, warn_of_absent_conversations)),
    ("raw tables cannot be used", (check_raw_tables,)),
    ("language models are not installed", (check_packages,)),
    ("pairs cannot be generated", (check_answer_models,)),
    ("devices do not suffice", (check_launcher, check_submission_devices)),
    ("attention kernels are missing", (check_kernels,)),
    ("results would be hidden", (check_clock,)),
    ("versions are named that will not be used", (check_pinned_versions,)),
    ("nodes between the selected ones are not up to date", (check_gap,)),
    ("what this would build on is not up to date", (check_outdated_inputs,)),
)
"""By the heading of what they find."""


def find_problems(run: PlannedRun) -> dict[str, list[str]]:
    """Run every check, whatever the others find.

    Returns:
        A line for each problem, by heading; empty if nothing stands in the way.
    """
    found = {heading: [line for check in checks for line in _apply(check, run)] for heading, checks in CHECKS}
    return {heading: lines for heading, lines in found.items() if lines}


def require_runnable(run: PlannedRun, more: dict[str, list[str]] | None = None) -> None:
    """Refuse a run that cannot work, with all that stands in its way.

    Args:
        run: As it is about to begin.
        more: What the caller found itself, by heading.

    Raises:
        PreflightError: Something does.
    """
    found = find_problems(run) | {heading: lines for heading, lines in (more or {}).items() if lines}
    if not found:
        return
    lines = ["nothing was run"]
    for heading, problems in found.items():
        lines += [f"{heading}:", *(f"  {line}" for line in problems)]
    if MISSING in found and (options := shared_options(run.options)):
        lines.append(f"Give these commands this one's options, too: {options}")
    raise PreflightError("\n".join(lines))


def _apply(check: Check, run: PlannedRun) -> list[str]:
    """A check that meets what the user can cure, such as a damaged table, says that."""
    try:
        return check(run)
    except (DatasetError, UserError, OSError) as error:
        return [str(error)]
