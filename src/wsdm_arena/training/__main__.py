"""Train, predict and evaluate as a run directory says.

``python -m torch.distributed.run --nproc-per-node N -m wsdm_arena.training RUN_DIR``, or without torchrun for one
process. The same command goes on where a killed one stopped, and does nothing once the run is complete. On several
nodes the run directory must lie on a file system that all of them see.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import torch
from transformers.utils.logging import disable_progress_bar

from wsdm_arena.training.distributed import DistributedContext
from wsdm_arena.training.run import RunDirectory
from wsdm_arena.training.session import Session
from wsdm_arena.training.start import seed_generators


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring one run directory to its end."""
    parser = argparse.ArgumentParser(prog="python -m wsdm_arena.training", description=__doc__)
    parser.add_argument("run_dir", help="directory with the run's run.json")
    run = RunDirectory(parser.parse_args(arguments).run_dir)
    config = run.read_config()
    disable_progress_bar()
    context = DistributedContext.from_environment(device=config.device, backend=config.backend)
    _configure_logging(context)
    if run.is_complete(config):
        logging.getLogger(__name__).info("%s is complete", run.path)
        return 0
    if config.threads_per_process is not None:
        torch.set_num_threads(config.threads_per_process)
    seed_generators(config.seed)
    with context.process_group() as mesh:
        Session(run, config, context, mesh).finish()
    return 0


def _configure_logging(context: DistributedContext) -> None:
    """Log progress on the first rank, and from the others only what is wrong."""
    logging.basicConfig(
        level=logging.INFO if context.is_main else logging.WARNING,
        format="%(asctime)s %(levelname)s " + ("" if context.world_size == 1 else f"[{context.rank}] ") + "%(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
