"""A rank that says it has begun and then sleeps: ``<folder> [stubborn] [faithful] [failing]``."""

import os
import signal
import sys
import time
from pathlib import Path

from wsdm_arena.processes import die_with_parent

if __name__ == "__main__":
    folder, *manners = sys.argv[1:]
    rank = os.environ["RANK"]
    if "faithful" in manners:
        die_with_parent()
    if "stubborn" in manners:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "failing" in manners and rank == "1":
        raise ValueError("the second rank cannot go on")
    Path(folder, f"rank{rank}.threads{os.environ['OMP_NUM_THREADS']}").touch()
    time.sleep(120)
