"""What is checked before any node runs: whatever cannot work is said in the first seconds, all of it at once."""

from wsdm_arena.preflight.checks import find_problems, require_runnable
from wsdm_arena.preflight.command import describe_run_context
from wsdm_arena.preflight.planned_run import PlannedRun, PreflightError

__all__ = ["PlannedRun", "PreflightError", "describe_run_context", "find_problems", "require_runnable"]
