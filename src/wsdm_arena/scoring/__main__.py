"""Score a table as a run directory says.

``python -m torch.distributed.run --nproc-per-node N -m wsdm_arena.scoring RUN_DIR``, or without torchrun for one
process. The same command goes on where a killed one stopped, and does nothing once the run is complete.
"""

import argparse
import logging
import os
from collections.abc import Sequence

from wsdm_arena.distributed import DistributedContext, leave, run_as_rank
from wsdm_arena.processes.parent_death import SUPERVISOR_VARIABLE, die_with_parent
from wsdm_arena.scoring.run_directory import ScoringDirectory
from wsdm_arena.scoring.table_reader import bring_to_end, torch_threads

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring one run directory to its end, as one of the processes that share the work."""
    parser = argparse.ArgumentParser(prog="python -m wsdm_arena.scoring", description=__doc__)
    parser.add_argument("run_dir", help="directory with the run's scoring.json")
    run = ScoringDirectory(parser.parse_args(arguments).run_dir)
    return run_as_rank(lambda: _score(run), f"the scoring of {run.path}")


def _score(run: ScoringDirectory) -> None:
    config = run.read_config()
    context = DistributedContext.from_environment(device=config.device, backend=config.backend)
    context.configure_logging()
    with torch_threads(config.threads_per_process), context.process_group():
        bring_to_end(run, config, context)


if __name__ == "__main__":
    if SUPERVISOR_VARIABLE in os.environ:  # started by hand, a process may outlive its shell
        die_with_parent()
    leave(main())
