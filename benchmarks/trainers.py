"""Compare our trainer with transformers' Trainer and TRL's RewardTrainer: speed, memory, accuracy.

    pip install -e ".[bench]"
    python benchmarks/trainers.py                              # a minute: small sizes, equality of all inputs
    python benchmarks/trainers.py --throughput [--threads 2]   # random models of 30 million parameters, real lengths
    python benchmarks/trainers.py --accuracy                   # committed tiny backbones, three seeds

All train the same backbone, from the same weights, on the same battles, for as many updates, with the same constants of
AdamW and the same learning rates. What differs is what is compared:

* ``ours``: the project's trainer; a battle is read in both orders, sequences are packed.
* ``hf_random`` and ``hf_grouped``: transformers' Trainer with AutoModelForSequenceClassification on the same sequences,
  both orders of each battle, padded in batches of 8, in random order or grouped by length.
* ``trl_random`` and ``trl_grouped``: TRL's RewardTrainer, which reads a battle as two sequences of the prompt and one
  answer: fewer tokens than two times the prompt with both answers, and it never compares the answers with one another.

So each reads two sequences a battle, and ``battles_per_s`` counts battles that were read in full. Useful tokens are
those that are not padding. Every training has a process of its own; those of the ways alternate; medians. Ratios are of
wall time on a GPU and of processor time on a CPU, which other work on the machine disturbs less; both are printed. Peak
memory is the resident set on a CPU and what PyTorch had allocated on a GPU; growth leaves out what was there before
model and data were loaded. Nothing is saved while the clock runs, tokens are made beforehand.

Throughput: battles whose lengths stand for those of ``--data``, each with neighbours of its length, so that grouping by
length pads no more than it would on a large data set. Accuracy: held-out simulated battles, both orders averaged (TRL:
the chosen answer rated above the rejected one), after as many updates, and after as many updates as a rival would do in
the time of ours, with a schedule of that length. The tiny backbones were trained on joint prompts, never on single
answers, which favours ours and transformers' Trainer.

Prints one JSON object last; 1 if a target is missed. A rival whose packages are missing is left out, and said so.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
RIVALS = {
    "ours": "ours",
    "hf_random": "hf_trainer",
    "hf_grouped": "hf_trainer",
    "trl_random": "trl_rewards",
    "trl_grouped": "trl_rewards",
}
"""Module of ``trainer_rivals`` by rival."""
PACKAGES = {"ours": (), "hf_trainer": ("accelerate",), "trl_rewards": ("accelerate", "datasets", "trl")}
TARGETS = {"hf_random": 2.0, "hf_grouped": 1.0}
"""Battles a second, ours over the rival's, in ``--throughput``; on a CPU a second of processor time."""
LOGIT_TOLERANCE = 1e-4
MAX_TOKENS = {"llama": 2_048, "gemma": 1_024}
"""Of a battle in ``--throughput``; eager attention, all that Gemma-2 has on a CPU, would need more than 20 GB for
batches of 8 with 2,048."""


def installed_rivals() -> tuple[list[str], dict[str, str]]:
    """Rivals that can run, and why the others cannot."""
    left_out = {}
    for rival, module in RIVALS.items():
        if missing := [name for name in PACKAGES[module] if importlib.util.find_spec(name) is None]:
            left_out[rival] = f'{", ".join(missing)} missing: pip install -e ".[bench]"'
    return [rival for rival in RIVALS if rival not in left_out], left_out


def quieten() -> None:
    """Leave out transformers' progress bars and its remarks, such as that a classifier's head is not in a backbone."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # gradient_checkpointing has a new name, but not in 5.17


def run_child(argument: str) -> dict[str, Any]:
    """What a child does: one training."""
    import torch
    from trainer_rivals.measuring import peak_flops, resident_mb
    from trainer_rivals.task import Task

    task = Task.from_json(argument)
    torch.set_num_threads(task.threads)
    quieten()
    module = importlib.import_module(f"trainer_rivals.{RIVALS[task.rival]}")
    report = module.train(task, resident_mb("VmRSS"))
    if (peak := peak_flops(task.device)) is not None:
        report["mfu"] = report["flops"] / report["seconds"] / peak
    return report


def call_child(**task: Any) -> dict[str, Any]:
    """Run one training in a process of its own."""
    from trainer_rivals.task import Task

    argument = Task(**task).to_json()
    environment = os.environ | {"OMP_NUM_THREADS": str(task["threads"]), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, "--child", argument]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task['rival']} failed with {done.returncode}: {argument}")
    return json.loads(done.stdout.splitlines()[-1])


def require_equal_work(reports: dict[str, dict[str, Any]]) -> None:
    """Make sure that what is compared is comparable."""
    ours = reports["ours"]
    for rival, report in reports.items():
        for field in ("updates", "battles", "sequences"):
            assert report[field] == ours[field], (rival, field, report[field], ours[field])
        if rival.startswith("hf"):
            assert report["useful_tokens"] == ours["useful_tokens"], (rival, report["useful_tokens"])
            gap = np.abs(np.subtract(report["initial_logits"], ours["initial_logits"])).max()
            assert gap <= LOGIT_TOLERANCE, (rival, gap)


def measure_throughput(
    folder: Path, family: str, rivals: list[str], options: argparse.Namespace
) -> tuple[dict[str, Any], bool]:
    """Train on the same battles with each rival in turn, several times; whether the targets are met."""
    from trainer_rivals.preparation import TINY_VOCABULARY, Shape, learn_tokenizer, prepare_throughput, read_battles

    battles, kind = read_battles(None if options.quick else options.data, 2_000)
    shape = Shape(hidden_size=64, num_layers=2, num_heads=2, num_key_value_heads=1, vocabulary=TINY_VOCABULARY)
    shape = shape if options.quick else Shape()
    tokenizer = learn_tokenizer(battles, shape.vocabulary if kind == "real" else TINY_VOCABULARY)
    work = prepare_throughput(
        folder,
        family,
        battles,
        tokenizer,
        shape,
        num_battles=options.battles,
        max_battle_tokens=max_battle_tokens(options, family),
        battles_per_update=options.battles_per_update,
        max_tokens_per_micro_batch=options.max_tokens_per_micro_batch,
    )
    found: dict[str, list[dict[str, Any]]] = {rival: [] for rival in rivals}
    for repetition in range(options.repetitions):
        for rival in rivals:
            report = call_child(
                work=work.folder,
                rival=rival,
                num_updates=options.battles // options.battles_per_update,
                seed=repetition,
                device=options.device,
                threads=options.threads,
                is_scored=False,
                groups_all=True,
            )
            found[rival].append(report)
            figures = {name: round(report[name], 1) for name in ("seconds", "processor_seconds", "peak_mb")}
            print(f"{family} {rival}: {figures}", file=sys.stderr, flush=True)
        require_equal_work({rival: reports[-1] for rival, reports in found.items()})
    table = {rival: summarize(reports) for rival, reports in found.items()}
    ratios = {
        clock: {rival: round(table["ours"][clock] / row[clock], 2) for rival, row in table.items() if rival != "ours"}
        for clock in ("battles_per_s", "battles_per_processor_s")
    }
    judged = ratios["battles_per_s" if options.device == "cuda" else "battles_per_processor_s"]
    met = options.quick or all(judged.get(rival, target) >= target for rival, target in TARGETS.items())
    result = {"battles": kind, "model": vars(shape), "max_battle_tokens": max_battle_tokens(options, family), **table}
    return {**result, "ours_over": ratios}, met


def max_battle_tokens(options: argparse.Namespace, family: str) -> int:
    """Budget of a battle."""
    return options.max_battle_tokens or MAX_TOKENS[family]


def summarize(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over repetitions of one rival's figures."""
    last = reports[-1]
    seconds = median(report["seconds"] for report in reports)
    processor_seconds = median(report["processor_seconds"] for report in reports)
    row = {
        "battles_per_s": round(last["battles"] / seconds, 3),
        "battles_per_processor_s": round(last["battles"] / processor_seconds, 3),
        "useful_tokens_per_s": round(last["useful_tokens"] / seconds, 1),
        "useful_tokens": last["useful_tokens"],
        "useful_share": median(report["useful_share"] for report in reports),
        "seconds": [round(report["seconds"], 1) for report in reports],
        "processor_seconds": [round(report["processor_seconds"], 1) for report in reports],
        "peak_mb": round(max(report["peak_mb"] for report in reports)),
        "growth_mb": round(max(report["growth_mb"] for report in reports)),
        "updates": last["updates"],
        "configuration": last["configuration"],
    }
    if "mfu" in last:
        row["mfu"] = round(median(report["mfu"] for report in reports), 4)
    return row


def measure_accuracy(folder: Path, family: str, rivals: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Held-out accuracy of each rival after as many updates, and after the time of ours."""
    from trainer_rivals.preparation import prepare_accuracy

    found: dict[str, dict[str, list[Any]]] = {
        rival: {"equal_updates": [], "equal_time": [], "seconds": [], "updates_in_time": []} for rival in rivals
    }
    num_updates = options.battles // options.battles_per_update
    clock = "seconds" if options.device == "cuda" else "processor_seconds"
    for seed in range(options.seeds):
        seed_folder = folder / str(seed)
        seed_folder.mkdir()
        work = prepare_accuracy(
            seed_folder,
            family,
            seed,
            num_battles=options.battles,
            num_held_out=options.held_out,
            battles_per_update=options.battles_per_update,
            max_tokens_per_micro_batch=options.max_tokens_per_micro_batch,
        )
        task = {"work": work.folder, "seed": seed, "device": options.device, "threads": options.threads}
        task |= {"is_scored": True, "groups_all": False}
        reports = {rival: call_child(rival=rival, num_updates=num_updates, **task) for rival in rivals}
        require_equal_work(reports)
        for rival, report in reports.items():
            fitting = max(1, int(num_updates * reports["ours"][clock] / report[clock]))
            again = report if rival == "ours" else call_child(rival=rival, num_updates=fitting, **task)
            found[rival]["equal_updates"].append(round(report["accuracy"], 4))
            found[rival]["equal_time"].append(round(again["accuracy"], 4))
            found[rival]["seconds"].append(round(report[clock], 1))
            found[rival]["updates_in_time"].append(again["updates"])
            print(f"{family} {rival} seed {seed}: {found[rival]}", file=sys.stderr, flush=True)
        shutil.rmtree(seed_folder)
    means = {
        rival: {name: round(fmean(values[name]), 4) for name in ("equal_updates", "equal_time")}
        for rival, values in found.items()
    }
    return {"updates": num_updates, "held_out": options.held_out, "clock": clock, "mean": means, **found}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments; sizes that are not given follow from what is measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--throughput", action="store_true", help="random models of 30 million parameters")
    parser.add_argument("--accuracy", action="store_true", help="committed tiny backbones")
    parser.add_argument("--quick", action="store_true", help="small sizes; both, and small, where neither is asked for")
    parser.add_argument("--families", nargs="+", choices=["llama", "gemma"], default=["llama", "gemma"])
    parser.add_argument("--rivals", nargs="+", choices=list(RIVALS), default=list(RIVALS))
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="folder of battles")
    parser.add_argument("--battles", type=int, help="to train on")
    parser.add_argument("--battles-per-update", type=int, default=16)
    parser.add_argument("--max-battle-tokens", type=int)
    parser.add_argument("--max-tokens-per-micro-batch", type=int, default=4_096)
    parser.add_argument("--held-out", type=int, help="battles to measure accuracy on")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not options.throughput and not options.accuracy:
        options.throughput = options.accuracy = options.quick = True
    if options.quick:
        options.repetitions = options.seeds = 1
        options.max_battle_tokens = options.max_battle_tokens or 256
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a target is missed."""
    options = parse(argv)
    if options.child:
        print(json.dumps(run_child(options.child)))
        return 0
    import torch

    quieten()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    installed, left_out = installed_rivals()
    rivals = [rival for rival in installed if rival in options.rivals or rival == "ours"]
    for rival, reason in left_out.items():
        print(f"{rival} is left out: {reason}", file=sys.stderr)
    asked, held_out = options.battles, options.held_out
    results: dict[str, Any] = {"throughput": {}, "accuracy": {}}
    passed = True
    for family in options.families:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if options.throughput:
                options.battles = asked or (32 if options.quick else 64)
                (folder / "throughput").mkdir()
                results["throughput"][family], met = measure_throughput(folder / "throughput", family, rivals, options)
                passed &= met
            if options.accuracy:
                options.battles = asked or (64 if options.quick else 1_536)
                options.held_out = held_out or (64 if options.quick else 1_000)
                (folder / "accuracy").mkdir()
                results["accuracy"][family] = measure_accuracy(folder / "accuracy", family, rivals, options)
    report = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "threads": options.threads,
        "quick": options.quick,
        **{name: found for name, found in results.items() if found},
        "left_out": left_out,
        "targets": TARGETS,
    }
    print(json.dumps({"benchmark": "trainers", **report, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
