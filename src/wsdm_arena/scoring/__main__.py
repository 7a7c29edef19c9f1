"""Score a table as a run directory says.

``python -m torch.distributed.run --nproc-per-node N -m wsdm_arena.scoring RUN_DIR``, or without torchrun for one
process. The same command goes on where a killed one stopped, and does nothing once the run is complete.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from wsdm_arena.distributed import DeviceError, DistributedContext
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.checkpoint import CheckpointError
from wsdm_arena.processes.lock import DirectoryInUseError
from wsdm_arena.processes.parent_death import SUPERVISOR_VARIABLE, die_with_parent
from wsdm_arena.prompts.store import TokenStoreError
from wsdm_arena.scoring.run_directory import ScoringDirectory, ScoringError
from wsdm_arena.scoring.table_reader import bring_to_end, torch_threads

logger = logging.getLogger(__name__)

USER_ERRORS = (
    CheckpointError,
    DeviceError,
    DirectoryInUseError,
    ScoringError,
    TokenStoreError,
    UnsupportedJudgeError,
)
"""What a user can cure: one line says what is wrong and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring one run directory to its end, as one of the processes that share the work."""
    parser = argparse.ArgumentParser(prog="python -m wsdm_arena.scoring", description=__doc__)
    parser.add_argument("run_dir", help="directory with the run's scoring.json")
    run = ScoringDirectory(parser.parse_args(arguments).run_dir)
    try:
        config = run.read_config()
        context = DistributedContext.from_environment(device=config.device, backend=config.backend)
        _configure_logging(context)
        with torch_threads(config.threads_per_process), context.process_group():
            bring_to_end(run, config, context)
    except USER_ERRORS as error:
        logger.error("%s", error)
        return 1
    except Exception:  # the other processes wait for this one, so it must end at once, not unwind
        logger.exception("the scoring of %s broke off", run.path)
        return 1
    return 0


def _configure_logging(context: DistributedContext) -> None:
    """Log progress on the first process, and from the others only what is wrong."""
    logging.basicConfig(
        level=logging.INFO if context.is_main else logging.WARNING,
        format="%(asctime)s %(levelname)s " + ("" if context.world_size == 1 else f"[{context.rank}] ") + "%(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


def leave(code: int) -> NoReturn:
    """End the process without taking the interpreter down: gloo's threads may abort a process whose work is done."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if SUPERVISOR_VARIABLE in os.environ:  # started by hand, a process may outlive its shell
        die_with_parent()
    leave(main())
