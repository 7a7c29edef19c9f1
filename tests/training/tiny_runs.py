"""Tiny runs: a random backbone, a few dozen battles, and everything a run directory needs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModel, Gemma2Config, LlamaConfig
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from wsdm_arena.config import RunConfig, TemplateConfig, TokenTable, TruncationConfig, deep_merge
from wsdm_arena.distributed import DistributedContext
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.training.__main__ import bring_to_end
from wsdm_arena.training.data import load_run_data
from wsdm_arena.training.resume import ResumeStates
from wsdm_arena.training.run import JsonLines, RunDirectory
from wsdm_arena.training.start import build_initial_judge
from wsdm_arena.training.trainer import Trainer

VOCABULARY = 300
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}<t>{% endif %}"
)
TEMPLATE = TemplateConfig(
    instruction="J",
    battle_start="",
    prompt_heading="Q",
    response_a_heading="A",
    response_b_heading="B",
    battle_end="",
    verdict_prefix="[[",
)
TRUNCATION = TruncationConfig.model_validate(
    {
        "max_battle_tokens": 96,
        "marker": "~",
        "per_field": {"max_prompt_tokens": 16, "max_response_tokens": 32},
        "shared_budget": {"reserved_tokens": 8, "max_prompt_tokens": 16},
    }
)
TRAINING: dict[str, Any] = {
    "optimizer": {"peak_learning_rate": 1e-3},
    "battles_per_update": 8,
    "max_tokens_per_micro_batch": 400,
    "dtype": "float32",
    "activation_checkpointing": False,
    "checkpoint": {"every_minutes": None},
    "evaluation": {"battles_at_start": 4},
}


class TinyRuns:
    """Makes run directories that share one table, its tokens and two backbones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backbones = {"llama": folder / "llama", "gemma": folder / "gemma"}
        _save_backbone(self.backbones["llama"], _llama())
        _save_backbone(self.backbones["gemma"], _gemma())
        self.pairs = _simulate_pairs(96)
        self.tokens = build_token_store(
            self.pairs,
            table="battles",
            tokenizer_dir=self.backbones["llama"],
            template=TEMPLATE,
            system_role=False,
            truncation=TRUNCATION,
            policy="per_field",
            root=folder / "tokens",
        )
        self.selection = folder / "selection.parquet"
        self.rows = _select(self.pairs)
        self.rows.to_parquet(self.selection)

    def train_tokens(self) -> int:
        """Tokens of the training sequences, in one order."""
        store = TokenStore.open(self.tokens)
        return int(store.lengths[store.rows(self.rows.query("split == 'train'")["pair_id"])].sum())

    def make(
        self,
        name: str,
        *,
        judge: str = "llama",
        backbone: Path | None = None,
        training: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        """Write ``run.json`` of a new run and give its directory."""
        fields: dict[str, Any] = {
            "seed": 3,
            "fingerprint": f"{name:0<16}"[:16],
            "judge": {
                "stage": "teacher",
                "judge": judge,
                "system_role": False,
                "head": {},
                "attention": "auto",
                "sliding_window": True,
                "truncation": "per_field",
                "training": deep_merge(TRAINING, training or {}),
            },
            "backbone": backbone or self.backbones[judge],
            "initial_checkpoint": None,
            "selection": self.selection,
            "tokens": [TokenTable(table="battles", path=self.tokens)],
            "device": "cpu",
            "threads_per_process": 1,
        }
        run = self.folder / "runs" / name
        run.mkdir(parents=True)
        (run / "run.json").write_text(RunConfig.model_validate(fields | changes).model_dump_json())
        return run


@contextmanager
def open_trainer(run: Path) -> Iterator[Trainer]:
    """The trainer of a run in this process, before its first update."""
    directory = RunDirectory(run)
    config = directory.read_config()
    context = DistributedContext.from_environment(device="cpu", environment={})
    with context.process_group() as mesh:
        yield Trainer(
            build_initial_judge(config),
            load_run_data(config),
            config,
            context,
            mesh,
            ResumeStates(directory.state, config, context),
            JsonLines(directory.metrics),
            on_update=lambda done, total: None,
        )


def finish(run: Path) -> Path:
    """Bring a run to its end in this process."""
    bring_to_end(RunDirectory(run))
    return run


def train_until(run: Path, num_updates: int) -> None:
    """Start a run and break it off after some updates, before the state is saved that they may be due to."""

    def interrupt(done: int, total: int) -> None:
        if done == num_updates:
            raise KeyboardInterrupt

    with open_trainer(run) as trainer:
        trainer.on_update = interrupt
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()


def weights(model: Path) -> dict[str, torch.Tensor]:
    """All weights of a saved judge."""
    return {
        name: tensor for file in ("model", "head") for name, tensor in load_file(model / f"{file}.safetensors").items()
    }


def launch(run: Path, processes: int = 1, *torchrun: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Start a training as a user does and wait for its end."""
    return subprocess.run(
        command(run, processes, *torchrun), env=environment(), capture_output=True, text=True, **options
    )


def command(run: Path, processes: int = 1, *torchrun: str) -> list[str]:
    """Command line of a training; plain Python for one process."""
    module = ["-m", "wsdm_arena.training", str(run)]
    if processes == 1 and not torchrun:
        return [sys.executable, *module]
    options = torchrun or ("--standalone",)
    return [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", str(processes), *module]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _llama() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
    )


def _gemma() -> Gemma2Config:
    return Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        sliding_window=24,
        query_pre_attn_scalar=8,
    )


def _save_backbone(directory: Path, config: LlamaConfig | Gemma2Config) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(directory)
    backend = Tokenizer(models.BPE(vocab=_byte_vocabulary(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "<t>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<t>", chat_template=CHAT_TEMPLATE)
    tokenizer.save_pretrained(directory)


def _byte_vocabulary() -> dict[str, int]:
    return {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def _simulate_pairs(num_pairs: int) -> pd.DataFrame:
    """The better answer has more "x", which a random backbone can learn to count within a few updates."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(num_pairs):
        texts = ["".join(draw.choice(list("xyz"), size=draw.integers(4, 40))) for _ in range(2)]
        rows.append(
            {
                "pair_id": f"{number:032x}",
                "prompt": "q" * int(draw.integers(1, 30)),
                "response_a": texts[0],
                "response_b": texts[1],
                "probability_a": float(texts[0].count("x") > texts[1].count("x")),
            }
        )
    frame = pd.DataFrame(rows)
    frame["probability_b"] = 1.0 - frame["probability_a"]
    return frame


def _select(pairs: pd.DataFrame) -> pd.DataFrame:
    """Two phases of 40 and 28 battles; the rest is held out, one pair of it was voted on twice, with a tie."""
    rows = pairs[["pair_id", "probability_a", "probability_b"]].copy()
    rows.insert(0, "table", "battles")
    rows["battle_id"] = rows["pair_id"]
    rows["fold"] = [1] * 68 + [0] * 28
    rows["split"] = ["train"] * 68 + ["held_out"] * 28
    rows["phase"] = [0] * 40 + [1] * 28 + [0] * 28
    second_vote = rows.iloc[[-1]].assign(battle_id="second", probability_a=0.5, probability_b=0.5)
    return pd.concat([rows, second_vote], ignore_index=True)
