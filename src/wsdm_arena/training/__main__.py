"""Train, predict and evaluate as a run directory says.

``python -m torch.distributed.run --nproc-per-node N -m wsdm_arena.training RUN_DIR``, or without torchrun for one
process. The same command goes on where a killed one stopped, and does nothing once the run is complete. On several
nodes the run directory must lie on a file system that all of them see.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

import torch
from transformers.utils.logging import disable_progress_bar

from wsdm_arena.distributed import DeviceError, DistributedContext
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.checkpoint import CheckpointError
from wsdm_arena.processes.parent_death import SUPERVISOR_VARIABLE, die_with_parent
from wsdm_arena.prompts.store import TokenStoreError
from wsdm_arena.training.data import SelectionError
from wsdm_arena.training.run import RunDirectory, RunError
from wsdm_arena.training.session import Session
from wsdm_arena.training.start import seed_generators
from wsdm_arena.training.trainer import TrainingDivergedError

logger = logging.getLogger(__name__)

USER_ERRORS = (
    CheckpointError,
    DeviceError,
    RunError,
    SelectionError,
    TokenStoreError,
    TrainingDivergedError,
    UnsupportedJudgeError,
)
"""What a user can cure: one line says what is wrong and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring one run directory to its end."""
    parser = argparse.ArgumentParser(prog="python -m wsdm_arena.training", description=__doc__)
    parser.add_argument("run_dir", help="directory with the run's run.json")
    run = RunDirectory(parser.parse_args(arguments).run_dir)
    try:
        bring_to_end(run)
    except USER_ERRORS as error:
        logger.error("%s", error)
        return 1
    except Exception:  # the other ranks wait for this one, so it must end at once, not unwind
        logger.exception("the training of %s broke off", run.path)
        return 1
    return 0


def bring_to_end(run: RunDirectory) -> None:
    """Do whatever is left to do in a run directory, as one of the processes that share the work."""
    config = run.read_config()
    disable_progress_bar()
    context = DistributedContext.from_environment(device=config.device, backend=config.backend)
    _configure_logging(context)
    if config.threads_per_process is not None:
        torch.set_num_threads(config.threads_per_process)
    seed_generators(config.seed)
    with context.process_group() as mesh, run.lock() if context.is_main else nullcontext():
        if context.broadcast(run.is_complete(config)):
            logger.info("%s is complete", run.path)
            return
        Session(run, config, context, mesh).finish()


def _configure_logging(context: DistributedContext) -> None:
    """Log progress on the first rank, and from the others only what is wrong."""
    logging.basicConfig(
        level=logging.INFO if context.is_main else logging.WARNING,
        format="%(asctime)s %(levelname)s " + ("" if context.world_size == 1 else f"[{context.rank}] ") + "%(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


def leave(code: int) -> NoReturn:
    """End the process without taking the interpreter down.

    gloo's threads may still be running then, and abort a process whose work is done.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if SUPERVISOR_VARIABLE in os.environ:  # started by hand, a process may outlive its shell
        die_with_parent()
    leave(main())
