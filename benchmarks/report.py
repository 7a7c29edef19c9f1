"""Measure what a report of one judge takes: scoreboard rows, analysis, its cascade with a second judge, and the page.

    OMP_NUM_THREADS=1 python benchmarks/report.py [--battles 50000 --bootstrap-samples 1000]

Battles of one fold, each with a prediction in either order (100,000): forty languages, five sources, forty models,
35,000 prompts, soft and hard labels, answers of 1,000 characters (lognormal). Baselines are not part of it. A process
of its own does the work; seconds and peak memory are those from its first line to the page on disk, with all imports
and tables; where processor seconds are far fewer, the machine had other work. After that, without a bound: ten judges,
each against each other. Prints one JSON object last.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

MAX_SECONDS, MAX_MEGABYTES = 60, 2_000
NAMES = ("gemma", "llama")
NUM_COMPARED = 10
LANGUAGES = tuple(f"l{number:02d}" for number in range(40))


def write_tables(folder: Path, num_battles: int) -> None:
    """``battles.parquet``, and predictions of both judges beside it; the k-th language is k times as rare."""
    import numpy as np
    import pandas as pd

    draws = np.random.default_rng(0)
    letters = "".join(draws.choice(list("abcdefghij klmno"), 40_000))

    def texts(median: float) -> list[str]:
        lengths = np.minimum(draws.lognormal(np.log(median), 0.8, num_battles), 20_000).astype(int)
        starts = draws.integers(0, 20_000, num_battles)
        return [letters[start : start + length] for start, length in zip(starts, lengths, strict=True)]

    num_prompts = round(0.7 * num_battles)
    repeated = draws.integers(num_prompts, size=num_battles - num_prompts)
    prompts = draws.permutation(np.append(np.arange(num_prompts), repeated))
    frequencies = 1 / np.arange(1, len(LANGUAGES) + 1)
    margins = draws.normal(0, 1.5, num_battles)
    first = (draws.random(num_battles) < 1 / (1 + np.exp(-margins))).astype(float)
    first[draws.random(num_battles) < 0.1] = 0.5
    models = [f"model-{number}" for number in range(40)]
    battles = pd.DataFrame(
        {
            "pair_id": [f"{number:032x}" for number in range(num_battles)],
            "battle_id": [f"{number:032x}" for number in range(num_battles)],
            "id": [f"v{number}" for number in range(num_battles)],
            "prompt_group": [f"{number:032x}" for number in prompts],
            "prompt": [f"prompt {number}" for number in prompts],
            "fold": 0,
            "source": draws.choice([f"source-{number}" for number in range(5)], num_battles),
            "language": draws.choice(LANGUAGES, num_battles, p=frequencies / frequencies.sum()),
            "model_a": draws.choice(models, num_battles),
            "model_b": draws.choice(models, num_battles),
            "response_a": texts(1_000),
            "response_b": texts(1_000),
            "probability_a": first,
            "probability_b": 1 - first,
        }
    )
    battles.to_parquet(folder / "battles.parquet")
    for name in NAMES:
        readings = []
        for order, sign in (("ab", 1), ("ba", -1)):
            said = margins + draws.normal(0.2 * sign, 1.0, num_battles)
            chances = 1 / (1 + np.exp(-said))
            logits = np.column_stack([said / 2, -said / 2])[:, ::sign]  # in the order in which answers are shown
            values = {"logits": list(logits), "probabilities": list(np.column_stack([chances, 1 - chances]))}
            keys = {"pair_id": battles["pair_id"], "order": order, "fold": 0, "judge_fingerprint": name}
            readings.append(pd.DataFrame(keys | values | {"truncated": draws.random(num_battles) < 0.1}))
        pd.concat(readings).sample(frac=1, random_state=0).to_parquet(folder / f"{name}.parquet", index=False)


def measure(folder: Path, num_samples: int) -> dict[str, object]:
    """What the child does; seconds by part, and the peak in megabytes."""
    start = last = time.perf_counter()
    before = _read_status("VmHWM")
    seconds: dict[str, float] = {}

    def tick(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[part], last = now - last, now

    import pandas as pd

    from wsdm_arena.analysis.cascades import analyse_cascade
    from wsdm_arena.analysis.judges import analyse_judge
    from wsdm_arena.analysis.report import build_report
    from wsdm_arena.config import CascadeConfig
    from wsdm_arena.scoring.cascade_plan import plan_cascade
    from wsdm_arena.scoring.comparisons import compare_judges
    from wsdm_arena.scoring.scoreboard import Measurement, judge_rows

    tick("importing")
    battles = pd.read_parquet(folder / "battles.parquet")
    predictions = {name: pd.read_parquet(folder / f"{name}.parquet") for name in NAMES}
    tick("reading")
    about = {"stage": "student", "judge": NAMES[0], "fold": 0}
    judged = predictions[NAMES[0]]
    rows = judge_rows(judged, battles, how=Measurement(num_bootstrap_samples=num_samples), **about)
    tick("scoreboard")
    analysis = analyse_judge(judged, battles, num_bootstrap_samples=num_samples, **about)
    tick("analysis")
    plan = plan_cascade(CascadeConfig(weights={NAMES[0]: 2.0}), predictions, battles, compare_with_threshold=0.5)
    cascade = analyse_cascade(
        plan, predictions, battles, None, stage="student", num_test_pairs=10_000, num_bootstrap_samples=num_samples
    )
    tick("cascade")
    page = build_report(title="Benchmark", rows=rows, analyses=[analysis], cascades=[cascade])
    (folder / "report.html").write_text(page)
    tick("page")
    total, growth, cpu = last - start, _read_status("VmHWM") - before, time.process_time()
    many = {f"judge {number}": predictions[NAMES[number % 2]] for number in range(NUM_COMPARED)}
    compared = compare_judges(many, battles, list(combinations(many, 2)), fold=0)
    tick("comparisons")
    return {
        "predictions": len(judged),
        "scoreboard_rows": len(rows),
        "page_mb": len(page) / 1e6,
        "seconds": total,
        "cpu_seconds": cpu,
        "peak_growth_mb": growth,
        "seconds_comparing_ten_judges": seconds.pop("comparisons"),
        "comparisons": len(compared),
        "seconds_by_part": seconds,
    }


def _read_status(name: str) -> float:
    """Megabytes. ``getrusage`` would start from the peak of the parent process."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1e3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--battles", type=int, default=50_000)
    parser.add_argument("--bootstrap-samples", type=int, default=1_000)
    parser.add_argument("--child", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.bootstrap_samples)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        write_tables(Path(scratch), arguments.battles)
        options = ["--child", scratch, "--bootstrap-samples", str(arguments.bootstrap_samples)]
        done = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, check=True)
        results = json.loads(done.stdout.splitlines()[-1])
    passed = results["seconds"] <= MAX_SECONDS and results["peak_growth_mb"] <= MAX_MEGABYTES
    bounds = {"battles": arguments.battles, "max_seconds": MAX_SECONDS, "max_peak_growth_mb": MAX_MEGABYTES}
    print(json.dumps({"benchmark": "report", **bounds, **results, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
