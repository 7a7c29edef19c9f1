"""Battles, tokens and initial weights that all trainers of the benchmark are given."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    Gemma2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from trainer_rivals.task import Work
from wsdm_arena.config import (
    HeadConfig,
    PreferencesConfig,
    SimulationConfig,
    TemplateConfig,
    TruncationConfig,
)
from wsdm_arena.modeling.checkpoint import HEAD, save_judge
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.raw_tables import find_files, read_raw_tables
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.prompts.template import render_template
from wsdm_arena.prompts.tokenizers import load_tokenizer
from wsdm_arena.simulation.arena import simulate_arena
from wsdm_arena.simulation.backbones import BACKBONES, load_sample_project
from wsdm_arena.simulation.tokenizers import build_tokenizer

CONF = Path(__file__).parents[2] / "conf"
VOCABULARY, TINY_VOCABULARY = 49_152, 2_048
NEIGHBOURS = 4
"""Battles of like length that stand together at each quantile: read in both orders, they fill a padded batch."""
NO_TEXT = dict.fromkeys(
    (
        "instruction",
        "battle_start",
        "prompt_heading",
        "response_a_heading",
        "response_b_heading",
        "battle_end",
        "verdict_prefix",
    ),
    "",
)


@dataclass(frozen=True)
class Shape:
    """Size of a random model; the default is that of the benchmark's 30 million parameters."""

    hidden_size: int = 384
    num_layers: int = 8
    num_heads: int = 6
    num_key_value_heads: int = 2
    intermediate_size: int = 1_024
    vocabulary: int = VOCABULARY

    def config(self, family: str, pad_token_id: int | None) -> PreTrainedConfig:
        """A Llama, or a Gemma-2 with the windows and soft-capping of the real one."""
        head_dim = self.hidden_size // self.num_heads
        common = {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": head_dim,
            "max_position_embeddings": 8_192,
            "pad_token_id": pad_token_id,
            "tie_word_embeddings": True,
        }
        if family == "gemma":
            return Gemma2Config(**common, query_pre_attn_scalar=head_dim)
        return LlamaConfig(**common)


def read_battles(data: Path | None, num_simulated: int) -> tuple[pd.DataFrame, str]:
    """Real battles where there are any, simulated ones elsewhere; and which of the two they are."""
    preferences = PreferencesConfig()
    if data is not None and data.is_dir():
        return build_battles(read_raw_tables(find_files(data)), preferences).battles, "real"
    arena = simulate_arena(SimulationConfig(num_battles=num_simulated, num_test_pairs=1, ugly_row_rate=0.0))
    return build_battles(arena.train_table, preferences).battles, "simulated"


def choose_at_quantiles(lengths: np.ndarray, num_battles: int) -> np.ndarray:
    """Positions of battles whose lengths stand for all: neighbours in length at evenly spaced quantiles.

    A sample drawn at random would be so small that its batches, even sorted, mix lengths as those of a large data set
    do not: each length comes with the :data:`NEIGHBOURS` that it would have there.

    Args:
        lengths: ``(N,)``.
        num_battles: Chosen ones, at most N.
    """
    num_groups = -(-num_battles // NEIGHBOURS)
    order = np.argsort(lengths, kind="stable")
    starts = ((np.arange(num_groups) + 0.5) / num_groups * len(order)).astype(int) - NEIGHBOURS // 2
    chosen = [position for start in starts for position in range(start, start + NEIGHBOURS)]
    return order[np.unique(np.clip(chosen, 0, len(order) - 1))][:num_battles]


def prepare_throughput(
    folder: Path, family: str, battles: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, shape: Shape, **sizes: int
) -> Work:
    """A random model, and battles that stand for the lengths of all.

    Args:
        folder: Made here.
        family: ``llama`` or ``gemma``.
        battles: All there are.
        tokenizer: With at most ``shape.vocabulary`` tokens.
        shape: Of the model.
        sizes: ``num_battles``, ``max_battle_tokens``, ``battles_per_update``, ``max_tokens_per_micro_batch``.
    """
    backbone = folder / "backbone"
    torch.manual_seed(0)
    AutoModel.from_config(shape.config(family, tokenizer.pad_token_id)).save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    template = load_sample_project(CONF).template if shape.vocabulary < VOCABULARY else TemplateConfig()
    tokens = build_token_store(
        battles,
        table="battles",
        tokenizer_dir=backbone,
        template=template,
        system_role=False,
        truncation=scaled_truncation(sizes["max_battle_tokens"]),
        policy="shared_budget",
        root=folder / "tokens",
    )
    store = TokenStore.open(tokens)
    unique = battles.drop_duplicates("pair_id")
    lengths = store.lengths[store.rows(unique["pair_id"])]
    chosen = unique.iloc[choose_at_quantiles(np.asarray(lengths), sizes["num_battles"])]
    held_out = unique[~unique["pair_id"].isin(chosen["pair_id"])].head(8)
    return _finish(folder, family, tokens, chosen, held_out, head_seed=0, learning_rate=1e-4, **_batches(sizes))


def prepare_accuracy(
    folder: Path, family: str, seed: int, *, num_battles: int, num_held_out: int, **sizes: int
) -> Work:
    """A committed tiny backbone under a fresh head, and simulated battles.

    Args:
        folder: Made here.
        family: ``llama`` or ``gemma``.
        seed: Of the head; battles are the same for every seed.
        num_battles: To train on.
        num_held_out: To measure accuracy on.
        sizes: ``battles_per_update``, ``max_tokens_per_micro_batch``.
    """
    project = load_sample_project(CONF)
    battles, _ = read_battles(None, num_battles + num_held_out + 500)
    battles = battles.drop_duplicates("pair_id")
    train = battles.head(num_battles)
    held_out = battles.iloc[num_battles:]
    held_out = held_out[~held_out["prompt"].isin(train["prompt"])].head(num_held_out)
    shutil.copytree(BACKBONES / family, folder / "backbone")
    tokens = build_token_store(
        pd.concat([train, held_out]),
        table="battles",
        tokenizer_dir=folder / "backbone",
        template=project.template,
        system_role=False,
        truncation=project.truncation,
        policy="shared_budget",
        root=folder / "tokens",
    )
    learning_rate = float(project.training["optimizer"]["peak_learning_rate"])
    return _finish(
        folder, family, tokens, train, held_out, head_seed=seed, learning_rate=learning_rate, **_batches(sizes)
    )


def scaled_truncation(max_battle_tokens: int) -> TruncationConfig:
    """The shared budget with the shares that the recipe gives to prompt and answers of 4,096 tokens."""
    third = max_battle_tokens // 3
    return TruncationConfig.model_validate(
        {
            "max_battle_tokens": max_battle_tokens,
            "per_field": {"max_prompt_tokens": third, "max_response_tokens": third},
            "shared_budget": {"max_prompt_tokens": third},
        }
    )


def learn_tokenizer(battles: pd.DataFrame, vocabulary: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE of this size with a chat template, learnt from the battles themselves."""
    texts = battles[["prompt", "response_a", "response_b"]].fillna("").to_numpy().ravel()
    return build_tokenizer(texts.tolist(), "llama", vocab_size=vocabulary)


def _batches(sizes: dict[str, int]) -> dict[str, int]:
    return {name: sizes[name] for name in ("battles_per_update", "max_tokens_per_micro_batch")}


def _finish(
    folder: Path,
    family: str,
    tokens: Path,
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    *,
    head_seed: int,
    learning_rate: float,
    battles_per_update: int,
    max_tokens_per_micro_batch: int,
) -> Work:
    """Write selection and initial weights."""
    splits = [rows.assign(split=split) for split, rows in (("train", train), ("held_out", held_out))]
    rows = pd.concat(splits, ignore_index=True)
    columns = ["pair_id", "split", "probability_a", "probability_b"]
    selection = rows[columns].assign(table="battles", battle_id=rows["pair_id"], phase=0, fold=-1)
    selection.to_parquet(folder / "selection.parquet")
    tokenizer = load_tokenizer(folder / "backbone")
    _write_models(folder, tokenizer, head_seed)
    chat = render_template(tokenizer, TemplateConfig.model_validate(NO_TEXT), system_role=False)
    work = Work(
        folder=folder,
        tokens=tokens,
        family=family,
        chat_opening=chat.before_prompt,
        chat_answer=chat.after_battle,
        chat_end=(tokenizer.eos_token_id,),
        battles_per_update=battles_per_update,
        learning_rate=learning_rate,
        max_tokens_per_micro_batch=max_tokens_per_micro_batch,
    )
    work.save()
    return work


def _write_models(folder: Path, tokenizer: PreTrainedTokenizerBase, head_seed: int) -> None:
    """The same weights for every trainer; a reward model's one logit has those of the first class."""
    judge = build_judge(
        folder / "backbone", head=HeadConfig(kind="linear"), num_classes=2, dtype="float32", head_seed=head_seed
    )
    save_judge(judge, folder / "judge", tokenizer_dir=folder / "backbone")
    score = load_file(folder / "judge" / HEAD)["output.weight"]
    for name, num_labels in (("classifier", 2), ("reward_model", 1)):
        model = AutoModelForSequenceClassification.from_pretrained(
            folder / "backbone", num_labels=num_labels, dtype=torch.float32, pad_token_id=tokenizer.pad_token_id
        )
        model.score.weight.data.copy_(score[:num_labels])
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
