"""What it costs to know that nothing is to be done: ``kedro status``, a fresh ``kedro run``, preflight, digests.

Needs a finished run: ``make run`` first, or --data-root. Run: python benchmarks/freshness.py [--data-root data/sample]
Prints one JSON object last; writes nothing but digests that are remembered and the ledger lines of the fresh runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kedro.framework.startup import bootstrap_project

PROJECT = Path(__file__).parents[1]
_OLD = 1_700_000_000
"""A modification time that lies behind; what is written this moment is read again."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, default=PROJECT / "data" / "sample", help="of a finished run")
    parser.add_argument("--params", default="", help="further --params of that run")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement; the median is printed")
    parser.add_argument("--megabytes", type=int, default=1_000, help="hashed")
    options = parser.parse_args()
    params = f"data_root={options.data_root.resolve()}" + (f",{options.params}" if options.params else "")
    if not (options.data_root / "08_reporting" / "ledger.jsonl").exists():
        print(json.dumps({"skipped": f"nothing has been run in {options.data_root}: make run"}))
        return
    fresh = kedro("run", "--params", params)
    if "Everything is up to date" not in fresh:
        raise SystemExit(f"{options.data_root} is not up to date: kedro run --params {params}")
    result = {
        "kedro_run_fresh_s": median(lambda: kedro("run", "--params", params), options.repeats),
        "kedro_status_s": median(lambda: kedro("status", "--params", params), options.repeats),
        "kedro_registry_list_s": median(lambda: kedro("registry", "list"), options.repeats),
        "preflight_s": preflight(params, options.repeats),
        "digests": digests(options.megabytes, options.repeats),
    }
    print(json.dumps(result, indent=1))


def kedro(*arguments: str) -> str:
    """Run a command and return what it printed."""
    environment = os.environ | {"KEDRO_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def median(action: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds), 3)


def preflight(params: str, repeats: int) -> float:
    """Median seconds of everything that is checked before the first node, in a process that is warm."""
    os.chdir(PROJECT)
    bootstrap_project(PROJECT)
    from kedro.framework.cli.utils import _split_params  # the only parser of what --params takes
    from kedro.framework.project import pipelines
    from kedro.io.core import generate_timestamp

    from wsdm_arena.session import UpToDateSession

    values = _split_params(None, None, params)
    with UpToDateSession.create(project_path=PROJECT, runtime_params=values, save_on_close=False) as session:
        context = session.load_context()
        catalog, pipeline = context.catalog, pipelines["__default__"]
        run_params = {"run_id": generate_timestamp(), "runtime_params": values, "runner": None}
        call = session._hook_manager.hook.before_pipeline_run
        return median(lambda: call(run_params=run_params, pipeline=pipeline, catalog=catalog), repeats)


def digests(megabytes: int, repeats: int) -> dict[str, object]:
    """Seconds to hash a quarter, a half and the whole of some files, and to look the whole up again."""
    from wsdm_arena.runs.digests import DigestCache

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(20):
            path = Path(folder, f"part-{number:02d}")
            path.write_bytes(os.urandom(megabytes * 50_000))
            os.utime(path, (_OLD, _OLD))
            files.append(path)
        DigestCache().digest(files)  # into the page cache
        cold = {
            f"{share:.0%}": median(lambda n=int(20 * share): DigestCache().digest(files[:n]), repeats)
            for share in (0.25, 0.5, 1)
        }
        known = Path(folder, "known.json")
        cache = DigestCache(known)
        cache.digest(files)
        cache.save()
        warm = median(lambda: DigestCache(known).digest(files), repeats)
    return {"megabytes": megabytes, "cold_s": cold, "warm_s": warm}


if __name__ == "__main__":
    main()
