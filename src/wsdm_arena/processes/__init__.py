"""Child processes that never outlive the one that started them."""

from wsdm_arena.processes.parent_death import die_with_parent
from wsdm_arena.processes.supervisor import ProcessFailed, run_supervised
from wsdm_arena.processes.torchrun import run_torchrun, torchrun_command, torchrun_environment

__all__ = [
    "ProcessFailed",
    "die_with_parent",
    "run_supervised",
    "run_torchrun",
    "torchrun_command",
    "torchrun_environment",
]
