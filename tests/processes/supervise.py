"""Stands in for Kedro: supervises a command until something ends one of the two."""

import sys
from pathlib import Path

from wsdm_arena.processes import run_supervised

if __name__ == "__main__":
    grace_s, log_path, *command = sys.argv[1:]
    run_supervised(command, grace_s=float(grace_s), log_path=Path(log_path))
