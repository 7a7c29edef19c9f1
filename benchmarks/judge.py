"""Compare the command ``judge`` on a file with the pipeline's own scoring of the same rows, and measure its memory.

    OMP_NUM_THREADS=1 python benchmarks/judge.py [--rows 2000 --repetitions 3]

Simulated test pairs, each with a number behind its answers so that no two are alike; the committed tiny Gemma under a
random head; both orders, one core. The pipeline's way: read the table, name the pairs, build the token store, score the
table. Ours: :func:`wsdm_arena.judging.files.judging.judge_files`, from the survey of the file to the last byte of the
verdicts. Each run has a process of its own, whose imports are not timed; those of the ways alternate; medians. All
probabilities are compared first. Then the peak memory of judging n and 4 n rows, as CSV. Prints one JSON object last.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

REQUIRED_RATIO = 0.9
MAX_GROWTH, MAX_GROWTH_MB = 1.1, 50
MAX_TOKENS = 8_192
PROBABILITIES = ["probability_a", "probability_b"]


def write_rows(path: Path, num_rows: int) -> None:
    """Test pairs of the arena as often as needed, none like another."""
    from wsdm_arena.config import SimulationConfig
    from wsdm_arena.simulation.arena import simulate_arena

    arena = simulate_arena(SimulationConfig(num_battles=50, num_test_pairs=1_000)).test_table
    table = pd.concat([arena] * -(-num_rows // len(arena)), ignore_index=True).head(num_rows)
    table["id"] = [f"row-{row}" for row in range(num_rows)]
    table["response_a"] = [f"{text} {row}" for row, text in enumerate(table["response_a"])]
    table[["id", "prompt", "response_a", "response_b"]].to_csv(path, index=False)


def make_bundle(folder: Path) -> Path:
    """The tiny Gemma under a random head, as a checkpoint and as a bundle."""
    from wsdm_arena.config import HeadConfig
    from wsdm_arena.judging.bundle import BundlePrompt, write_bundle
    from wsdm_arena.modeling.checkpoint import save_judge
    from wsdm_arena.modeling.judge import build_judge
    from wsdm_arena.prompts.template import render_template
    from wsdm_arena.prompts.tokenizers import load_tokenizer
    from wsdm_arena.simulation.backbones import BACKBONES, load_sample_project

    project = load_sample_project(Path(__file__).parents[1] / "conf")
    backbone = BACKBONES / "gemma"
    prompt = BundlePrompt(
        template=project.template, system_role=False, truncation=project.truncation, policy="shared_budget"
    )
    rendered = render_template(load_tokenizer(backbone), project.template, system_role=False)
    checkpoint = save_judge(
        build_judge(backbone, head=HeadConfig(dropout=0.0), num_classes=2).eval(),
        folder / "checkpoint",
        tokenizer_dir=backbone,
        manifest={"fingerprint": "benchmark", "template_hash": rendered.hash},
    )
    return write_bundle(
        folder / "bundle",
        checkpoint=checkpoint,
        prompt=prompt,
        layouts=["plain"],
        temperature=1.0,
        calibration={},
        provenance={"judge": "gemma"},
    )


def score_as_the_pipeline(file: Path, folder: Path, scratch: Path) -> tuple[float, pd.DataFrame]:
    """Seconds, and probabilities by id."""
    from wsdm_arena.config import LauncherConfig
    from wsdm_arena.judging.bundle import Bundle
    from wsdm_arena.preferences.raw_tables import read_raw_tables
    from wsdm_arena.preferences.test_pairs import build_test_pairs
    from wsdm_arena.prompts.store import build_token_store
    from wsdm_arena.scoring.ensemble import average_orders, probabilities_by_row
    from wsdm_arena.scoring.table_run import describe_scoring, score_table

    launcher = LauncherConfig(scoring_processes=1, device="cpu", threads_per_process=1)
    prompt = Bundle.open(folder / "bundle").prompt
    start = time.perf_counter()
    pairs = build_test_pairs(read_raw_tables([file])).test_pairs
    tokens = build_token_store(
        pairs,
        table="test_pairs",
        tokenizer_dir=folder / "checkpoint",
        root=scratch / "tokens",
        **{name: getattr(prompt, name) for name in ("template", "system_role", "truncation", "policy")},
    )
    request = describe_scoring(
        checkpoint=folder / "checkpoint",
        tokens=tokens,
        table="test_pairs",
        orders=("ab", "ba"),
        dtype="float32",
        max_tokens_per_batch=MAX_TOKENS,
        launcher=launcher,
    )
    predictions = score_table(request, scratch / "run", launcher)
    seconds = time.perf_counter() - start
    means = average_orders(probabilities_by_row(predictions)).loc[pairs["pair_id"]]
    return seconds, means.set_index(pairs["id"])


def judge_as_the_command(file: Path, folder: Path, scratch: Path) -> tuple[float, pd.DataFrame]:
    """Seconds, and probabilities by id."""
    from wsdm_arena.judging.exported import Placement
    from wsdm_arena.judging.files.judging import FileOptions, judge_files
    from wsdm_arena.judging.files.request import examine_inputs

    output = scratch / "verdicts.parquet"
    options = FileOptions(placement=Placement(devices=("cpu",), max_tokens_per_batch=MAX_TOKENS))
    start = time.perf_counter()
    judge_files([folder / "bundle"], examine_inputs([str(file)], output), output, options)
    seconds = time.perf_counter() - start
    return seconds, pd.read_parquet(output).set_index("id")[PROBABILITIES]


WAYS = {"pipeline": score_as_the_pipeline, "judge": judge_as_the_command}


def run_child(way: str, file: Path, folder: Path, scratch: Path) -> dict[str, float]:
    """What a child does: one way, once; its seconds and its peak memory."""
    import torch

    import wsdm_arena.judging.files.judging
    import wsdm_arena.scoring.table_reader  # noqa: F401 (imports are not timed)

    torch.set_num_threads(1)
    seconds, probabilities = WAYS[way](file, folder, scratch)
    probabilities.to_parquet(scratch / "probabilities.parquet")
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return {"seconds": seconds, "peak_mb": int(match[1]) / 1e3}


def call_child(way: str, file: Path, folder: Path, scratch: Path) -> tuple[dict[str, float], pd.DataFrame]:
    """Run one way in a process of its own."""
    scratch.mkdir()
    command = [sys.executable, __file__, "--child", way, file, folder, scratch]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([str(part) for part in command], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1]), pd.read_parquet(scratch / "probabilities.parquet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--child", nargs=4, metavar=("WAY", "FILE", "FOLDER", "SCRATCH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        way, *paths = arguments.child
        print(json.dumps(run_child(way, *map(Path, paths))))
        return 0
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        make_bundle(folder)
        few, many = folder / "few.csv", folder / "many.csv"
        write_rows(few, arguments.rows)
        write_rows(many, 4 * arguments.rows)
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        peaks, difference = [], 0.0
        for repetition in range(arguments.repetitions):
            found = {}
            for way in WAYS:
                figures, found[way] = call_child(way, few, folder, folder / f"{way}-{repetition}")
                seconds[way].append(figures["seconds"])
                if way == "judge":
                    peaks.append(figures["peak_mb"])
            assert list(found["judge"].index) == list(found["pipeline"].index)
            gap = np.abs(found["judge"].to_numpy() - found["pipeline"].to_numpy()).max()
            difference = max(difference, float(gap))
        peak_of_many = call_child("judge", many, folder, folder / "many")[0]["peak_mb"]
    speeds = {way: arguments.rows / statistics.median(times) for way, times in seconds.items()}
    ratio, peak = speeds["judge"] / speeds["pipeline"], statistics.median(peaks)
    is_flat = peak_of_many <= MAX_GROWTH * peak or peak_of_many - peak <= MAX_GROWTH_MB
    passed = difference <= 1e-6 and ratio >= REQUIRED_RATIO and is_flat
    report = {
        "rows": arguments.rows,
        "largest_difference": difference,
        "rows_per_second": {way: round(speed, 1) for way, speed in speeds.items()},
        "ratio": round(ratio, 3),
        "required_ratio": REQUIRED_RATIO,
        "peak_mb": round(peak, 1),
        "peak_mb_of_four_times_as_many": round(peak_of_many, 1),
    }
    print(json.dumps({"benchmark": "judge", **report, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
