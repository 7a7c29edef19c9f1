"""Train the tiny backbones that the sample environment starts from: ``make backbones``.

A tiny judge learns from battles alone only what shows on the surface; a next-token loss beside the judge loss teaches
it the languages and the sums. So both backbones are trained once, by the same trainer as every judge, from random
weights, on an arena whose models and draws no run ever sees, and committed. The head is thrown away.
"""

import argparse
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from wsdm_arena.config import (
    HeadConfig,
    LauncherConfig,
    PreferencesConfig,
    ProjectConfig,
    ResolvedJudge,
    SimulationConfig,
    TrainingConfig,
    deep_merge,
)
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.selection import select_teacher_rows
from wsdm_arena.prompts.store import build_token_store
from wsdm_arena.runs.fingerprint import fingerprint
from wsdm_arena.simulation.arena import simulate_arena
from wsdm_arena.simulation.tokenizers import TokenizerFamily, build_tokenizer
from wsdm_arena.training.launch import describe_run, launch_training

logger = logging.getLogger(__name__)

BACKBONES = Path(__file__).parent / "tiny_backbones"
"""Where the committed backbones lie, one directory a family."""

SEED = 1
VOCABULARY_SIZE = 2048


@dataclass(frozen=True)
class Recipe:
    """How one family's backbone is made."""

    family: TokenizerFamily
    architecture: dict[str, Any]
    """Arguments of the family's transformers configuration beside the vocabulary."""
    num_battles: int
    training: dict[str, Any]


_SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_TRAINING = {
    "optimizer": {"peak_learning_rate": 2e-3},
    "schedule": {"warmup_fraction": 0.05},
    "battles_per_update": 8,
    "dtype": "float32",
    "language_modeling_weight": 0.5,
    "activation_checkpointing": False,
    "checkpoint": {"every_minutes": 5},
    "evaluation": {"every_updates": 1000, "max_battles": 500},
    "log_every_updates": 50,
}
RECIPES: dict[str, Recipe] = {
    "llama": Recipe("llama", _SHAPE, num_battles=80_000, training=_TRAINING),
    "gemma": Recipe(
        "gemma",
        _SHAPE | {"query_pre_attn_scalar": 32, "sliding_window": 64},
        num_battles=80_000,
        training=_TRAINING,
    ),
}


def train_backbone(family: str, *, work: Path, project: ProjectConfig, threads: int) -> Path:
    """Train one backbone in ``work`` and return the directory of the finished judge; a killed run goes on.

    Args:
        family: Key of :data:`RECIPES`.
        work: Folder for tokens, initial weights and the run.
        project: The sample environment: its template and truncation are the ones the backbone will be used with.
        threads: CPU threads of the one process.
    """
    recipe = RECIPES[family]
    battles = _battles(recipe, project.preferences)
    name = fingerprint({"recipe": asdict(recipe), "template": project.template.model_dump(), "seed": SEED})
    initial = _initialize(recipe, battles, project, work / "initial" / f"{family}.{name}")
    judge = ResolvedJudge(
        stage="backbone",
        judge=family,
        system_role=project.judges[family].system_role,
        head=HeadConfig(),
        attention="auto",
        sliding_window=True,
        truncation="per_field",
        training=TrainingConfig.model_validate(recipe.training),
    )
    tokens = build_token_store(
        battles,
        table="battles",
        tokenizer_dir=initial,
        template=project.template,
        system_role=judge.system_role,
        truncation=project.truncation,
        policy=judge.truncation,
        root=work / "tokens",
    )
    selection = work / f"selection.{family}.parquet"
    select_teacher_rows(battles, project.preferences).to_parquet(selection)
    launcher = LauncherConfig(device="cpu", threads_per_process=threads)
    run = describe_run(
        judge=judge,
        backbone=initial,
        selection=selection,
        tokens={"battles": tokens},
        num_classes=2,
        seed=SEED,
        launcher=launcher,
    )
    return launch_training(run, work / "runs" / family / run.fingerprint, launcher).model


def _battles(recipe: Recipe, preferences: PreferencesConfig) -> pd.DataFrame:
    arena = simulate_arena(SimulationConfig(seed=SEED, num_battles=recipe.num_battles), universe="backbones")
    battles = build_battles(arena.train_table, preferences).battles
    # The chance of each vote teaches more than the vote, and here it is known.
    chances = battles["id"].map(arena.simulated_truth.set_index("id")["probability_a"])
    battles = battles.assign(probability_a=chances, probability_b=1 - chances)
    # One prompt in 64 is enough to watch the training by; a fold of five would be a waste.
    watched = battles["prompt_group"].str[:2].map(lambda digits: int(digits, 16) < 4)
    return battles.assign(fold=watched.map({True: preferences.held_out_fold, False: preferences.held_out_fold + 1}))


def _initialize(recipe: Recipe, battles: pd.DataFrame, project: ProjectConfig, directory: Path) -> Path:
    """Write random weights and a tokenizer trained on rendered battles, or find that it was done before."""
    import torch
    from transformers import AutoModel, Gemma2Config, LlamaConfig

    if (directory / "config.json").exists():
        return directory
    template = project.template
    texts = battles.head(20_000)[["prompt", "response_a", "response_b"]].fillna(template.missing_text)
    rendered = [
        "".join(
            (
                template.instruction,
                template.battle_start,
                template.prompt_heading,
                prompt,
                template.response_a_heading,
                response_a,
                template.response_b_heading,
                response_b,
                template.battle_end,
                "\n\nuser\n\nsystem\n\nassistant\nmodel\n",
                template.verdict_prefix,
            )
        )
        for prompt, response_a, response_b in zip(*(texts[name].str[:500] for name in texts), strict=True)
    ]
    tokenizer = build_tokenizer(rendered, recipe.family, vocab_size=VOCABULARY_SIZE)
    classes = {"gemma": Gemma2Config, "llama": LlamaConfig}
    config = classes[recipe.family](
        vocab_size=VOCABULARY_SIZE,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **recipe.architecture,
    )
    torch.manual_seed(SEED)
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    AutoModel.from_config(config).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(directory)
    return directory


def publish(model: Path, directory: Path) -> None:
    """Copy a finished judge's backbone, in half precision and without head, over the committed one."""
    import torch
    from safetensors.torch import load_file, save_file

    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.float16) for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (model / name).exists():
            shutil.copyfile(model / name, directory / name)
    config = json.loads((directory / "config.json").read_text())
    config["dtype"] = "float16"
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_sample_project(conf: Path) -> ProjectConfig:
    """Read the sample environment's parameters without Kedro."""
    layers = [yaml.safe_load((conf / env / "parameters.yml").read_text()) for env in ("base", "sample")]
    return ProjectConfig.model_validate(deep_merge(*layers))


def main() -> None:
    """Train and publish the backbones named on the command line, all by default."""
    parser = argparse.ArgumentParser(prog="python -m wsdm_arena.simulation.backbones", description=__doc__)
    parser.add_argument("families", nargs="*", help=f"any of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="the project's configuration folder")
    parser.add_argument("--work", type=Path, default=Path("data/backbones"), help="folder for what arises on the way")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each training")
    arguments = parser.parse_args()
    if unknown := set(arguments.families) - set(RECIPES):
        parser.error(f"there is no family {', '.join(sorted(unknown))}; choose from {', '.join(RECIPES)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    project = load_sample_project(arguments.conf)
    for family in arguments.families or RECIPES:
        model = train_backbone(family, work=arguments.work.resolve(), project=project, threads=arguments.threads)
        publish(model, BACKBONES / family)
        logger.info("%s: published to %s", family, BACKBONES / family)


if __name__ == "__main__":
    main()
