"""``python -m wsdm_arena train``: a judge from a file of votes, without a Kedro project."""

import json
import logging
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.table import Table

from wsdm_arena.cli.console import stop_resumable, wide_console
from wsdm_arena.config.own_training import OwnTrainingConfig, OwnTrainingError, resolve_own_training
from wsdm_arena.errors import UserError

if TYPE_CHECKING:
    from wsdm_arena.own_training.results import CardContents, TrainedJudge

_DEFAULT = OwnTrainingConfig()
_OPTIONS = "the options"
_HELP = """\
Train a judge on your own battles, and score it on those that were held out.

A battle is a row with the columns prompt, response_a, response_b and winner (model_a, model_b or tie); language,
model_a, model_b, id and source are used where they are there. Rows that cannot be used are counted and listed in
the work directory; they stop nothing unless they are many.

The same command goes on where it was stopped, by kill -9, too. When it is through it says so at once; with another
option it trains anew.

\b
python -m wsdm_arena train --battles votes.csv --backbone Qwen/Qwen2.5-7B-Instruct -o my_judge
python -m wsdm_arena judge --bundle my_judge pairs.csv -o verdicts.parquet
"""  # \b is click's sign for a paragraph whose lines stay as they are; in a docstring it would have to be written raw
_PLACES: Mapping[str, tuple[str, ...]] = {
    "backbone": ("judge", "backbone", "source"),
    "revision": ("judge", "backbone", "revision"),
    "head": ("judge", "head", "kind"),
    "system_role": ("judge", "system_role"),
    "epochs": ("training", "epochs"),
    "learning_rate": ("training", "optimizer", "peak_learning_rate"),
    "battles_per_update": ("training", "battles_per_update"),
    "max_tokens_per_micro_batch": ("training", "max_tokens_per_micro_batch"),
    "max_battles": ("training", "max_battles"),
    "dtype": ("training", "dtype"),
    "max_battle_tokens": ("truncation", "max_battle_tokens"),
    "device": ("launcher", "device"),
    "processes": ("launcher", "processes_per_node"),
    "tie_policy": ("preferences", "tie_policy"),
    "folds": ("preferences", "num_folds"),
    "held_out_fold": ("preferences", "held_out_fold"),
    "seed": ("seed",),
    "name": ("name",),
}
"""Where an option stands in the tree of parameters."""


def _option(flag: str, meaning: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that a configuration file can set, too; its help ends with the default."""
    name = flag.partition("/")[0].removeprefix("--").replace("-", "_")
    value: Any = _DEFAULT
    for part in _PLACES[name]:
        value = getattr(value, part)
    default = settings.pop("shown_default", None) or ("none" if value is None else str(value))
    return click.option(flag, default=None, help=f"{meaning}  [default: {default}]", **settings)


@click.command(help=_HELP, no_args_is_help=True, context_settings={"max_content_width": 120})
@click.option(
    "--battles",
    "battles",
    multiple=True,
    required=True,
    metavar="FILES",
    help="Files of votes (.csv, .parquet, .jsonl), a folder of them or a quoted pattern. Give it as often as you like.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory of the bundle that is made."
)
@_option(
    "--backbone",
    "Directory of a pretrained model in safetensors with its tokenizer, or its name on the Hugging Face hub.",
    shown_default="none; required here or in the configuration file",
)
@_option("--revision", "Commit of the hub's repository.", shown_default="the newest")
@_option("--name", "Of the judge: lower-case letters, digits and underscores.")
@_option("--head", "Classifier on the last token.", type=click.Choice(["mlp", "linear", "verbalizer"]))
@_option(
    "--system-role/--no-system-role",
    "Whether the instruction is a system message of its own or opens the user's.",
    shown_default="found out by trying the chat template",
)
@_option("--epochs", "Passes over the battles.", type=int)
@_option(
    "--learning-rate",
    "Peak step size. The default suits models of 7 billion parameters and more; smaller ones want a larger one.",
    type=float,
)
@_option("--battles-per-update", "Battles between two updates; the recipe has 16 for Llama, 80 for Gemma.", type=int)
@_option("--max-battles", "Train on a seeded draw of so many battles.", type=int, shown_default="all")
@_option(
    "--max-battle-tokens",
    "Longest prompt and answers together; longer ones lose their middle.",
    type=int,
)
@_option("--max-tokens-per-micro-batch", "Tokens that a GPU reads at a time: less takes less memory.", type=int)
@_option(
    "--dtype",
    "Of weights and optimizer.",
    type=click.Choice(["auto", "bfloat16", "float32"]),
    shown_default="auto: bfloat16 on a GPU, float32 on a CPU",
)
@_option("--device", "What to train on.", type=click.Choice(["auto", "cuda", "cpu"]))
@_option("--processes", "That train together on this machine.", type=int, shown_default="one a GPU")
@_option(
    "--tie-policy",
    "What a tie is: left out, half a win for each, or a third class.",
    type=click.Choice(["drop", "half", "class"]),
)
@_option("--folds", "Parts that the battles are split into, by prompt; one of them is held out.", type=int)
@_option("--held-out-fold", "Which one the judge is scored and calibrated on, from 0.", type=int)
@_option("--seed", "Of every draw.", type=int)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with any of the parameters template, truncation, training, judge, launcher, preferences, "
    "reporting, export, seed, name; options win over it.",
)
@click.option(
    "--work-dir",
    type=click.Path(path_type=Path),
    help="Where a stopped training goes on from, and what may be deleted afterwards.  [default: OUTPUT.work]",
)
def train(
    battles: tuple[str, ...], output: Path, config_file: Path | None, work_dir: Path | None, **options: Any
) -> None:
    """Train, and say how it went."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("wsdm_arena").setLevel(logging.INFO)
    try:
        config = resolve_own_training(_layers(config_file, options))
        from wsdm_arena.own_training.train import train_judge  # takes a second to import

        trained = train_judge(list(battles), output, config=config, work_dir=work_dir, write_card=_write_card)
    except (UserError, OSError) as error:
        raise click.ClickException(_in_own_words(str(error))) from None
    except KeyboardInterrupt:
        stop_resumable("from the last state that was saved (every training.checkpoint.every_minutes)")
    _show(trained)


def _write_card(contents: "CardContents") -> str:
    from wsdm_arena.cli.train_card import write_own_card  # imports torch

    return write_own_card(contents)


def _layers(config_file: Path | None, options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What the file says, then what the options say, each as a tree of parameters."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        *sections, key = _PLACES[name]
        node = given
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return {**({} if config_file is None else {str(config_file): _read(config_file)}), _OPTIONS: given}


def _read(config_file: Path) -> Mapping[str, Any]:
    try:
        tree = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OwnTrainingError(f"{config_file} cannot be read as YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, Mapping):
        raise OwnTrainingError(f"{config_file} holds a {type(tree).__name__}, not parameters by their names")
    return tree


def _in_own_words(message: str) -> str:
    """The library's errors speak of a project with many judges; here there is one, and options."""
    for theirs, ours in (
        ("judges.<judge>.backbone.source and revision", "--backbone and --revision"),
        (
            "; without a source the checkpoint is looked for in 01_raw/checkpoints/<judge>",
            "",
        ),
        ("judges.<judge>.backbone.source", "--backbone"),
        ("set judges.<judge>.system_role: false", "give --no-system-role"),
        ("or judges.<judge>.head.kind: linear", "or --head linear"),
        ("set judges.<judge>.head.kind to linear or mlp", "give --head linear or --head mlp"),
        ("judges.<judge>.", "judge."),
    ):
        message = message.replace(theirs, ours)
    return message


def _show(trained: "TrainedJudge") -> None:
    """Print how good the judge is, and how to use it."""
    console = wide_console()
    report, calibration = trained.report, trained.calibration
    first = trained.rows[0]
    kept = f"{report['num_battles']:,} battles of {report['num_rows']:,} rows, {report['num_prompts']:,} prompts"
    console.print(f"{'There already' if trained.was_done else 'Trained'}: {trained.bundle}")
    console.print(kept)
    for outcome in ("dropped", "left_out", "repaired"):
        for reason, number in report[outcome].items():
            console.print(f"  {outcome.replace('_', ' ')}: {number:,} ({reason})")
    console.print(f"\nOn {first['num_pairs']:,} battles that were held out:")
    table = Table(box=None, pad_edge=False)
    for name in ("", "accuracy", "interval", "log loss", "calibration error", "flips"):
        table.add_column(name, justify="left" if not name else "right")
    for row in trained.rows:
        name = row["judge"].replace("_", " ") if row["stage"] == "baseline" else row["judge"]
        if row["stage"].endswith(".zero_shot"):
            name += f", zero-shot ({row['num_pairs']:,} of them)"
        flips = "" if row["flip_rate"] is None else f"{row['flip_rate']:.1%}"
        interval = f"{row['accuracy_low']:.3f} to {row['accuracy_high']:.3f}"
        table.add_row(name, f"{row['accuracy']:.3f}", interval, f"{row['log_loss']:.3f}", f"{row['ece']:.3f}", flips)
    console.print(table)
    note = f" ({calibration['note']})" if calibration.get("note") else ""
    console.print(f"\ntemperature {calibration['temperature']:.3f}{note}", soft_wrap=True)
    place = shlex.quote(str(trained.bundle))
    console.print("\nTo use it:")
    console.print(f"  python -m wsdm_arena judge --bundle {place} PAIRS.csv -o verdicts.parquet", soft_wrap=True)
    literal = json.dumps(str(trained.bundle), ensure_ascii=False)
    code = f'from wsdm_arena import Judge; print(Judge.load({literal}).compare("2 + 2?", "4", "5"))'
    console.print(f"  python -c {shlex.quote(code)}", soft_wrap=True)
    console.print(f"Metrics and predictions: {trained.run_dir}", soft_wrap=True)
