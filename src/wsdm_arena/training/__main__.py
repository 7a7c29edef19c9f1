"""Train, predict and evaluate as a run directory says.

``python -m torch.distributed.run --nproc-per-node N -m wsdm_arena.training RUN_DIR``, or without torchrun for one
process. The same command goes on where a killed one stopped, and does nothing once the run is complete. On several
nodes the run directory must lie on a file system that all of them see.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from transformers.utils.logging import disable_progress_bar

from wsdm_arena.distributed import DistributedContext, leave, run_as_rank
from wsdm_arena.processes.parent_death import SUPERVISOR_VARIABLE, die_with_parent
from wsdm_arena.training.run import RunDirectory
from wsdm_arena.training.session import Session
from wsdm_arena.training.start import seed_generators

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring one run directory to its end."""
    parser = argparse.ArgumentParser(prog="python -m wsdm_arena.training", description=__doc__)
    parser.add_argument("run_dir", help="directory with the run's run.json")
    run = RunDirectory(parser.parse_args(arguments).run_dir)
    return run_as_rank(lambda: bring_to_end(run), f"the training of {run.path}")


def bring_to_end(run: RunDirectory) -> None:
    """Do whatever is left to do in a run directory, as one of the processes that share the work."""
    config = run.read_config()
    disable_progress_bar()
    context = DistributedContext.from_environment(device=config.device, backend=config.backend)
    context.configure_logging()
    if config.threads_per_process is not None:
        torch.set_num_threads(config.threads_per_process)
    seed_generators(config.seed)
    with context.process_group() as mesh, run.lock() if context.is_main else nullcontext():
        if context.broadcast(run.is_complete(config)):
            logger.info("%s is complete", run.path)
            return
        Session(run, config, context, mesh).finish()


if __name__ == "__main__":
    if SUPERVISOR_VARIABLE in os.environ:  # started by hand, a process may outlive its shell
        die_with_parent()
    leave(main())
