"""The committed backbones are what the recipes describe, small, and what the sample environment reads."""

import inspect
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.simulation.backbones import BACKBONES, RECIPES, VOCABULARY_SIZE, load_sample_project
from wsdm_arena.simulation.raw_checkpoints import write_raw_checkpoints

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", sorted(RECIPES))
def test_a_committed_backbone_is_the_one_its_recipe_describes(family):
    config = json.loads((BACKBONES / family / "config.json").read_text())
    assert config["vocab_size"] == VOCABULARY_SIZE
    assert {key: config[key] for key in RECIPES[family].architecture if key in config} == {
        key: value for key, value in RECIPES[family].architecture.items() if key in config
    }
    assert config["num_hidden_layers"] == RECIPES[family].architecture["num_hidden_layers"]
    assert config["model_type"] == {"gemma": "gemma2", "llama": "llama"}[family]
    tokenizer = AutoTokenizer.from_pretrained(BACKBONES / family)
    assert len(tokenizer) == VOCABULARY_SIZE


def test_both_backbones_together_stay_below_eight_megabytes():
    assert sum(file.stat().st_size for file in BACKBONES.rglob("*") if file.is_file()) <= 8_000_000


@pytest.mark.parametrize("family", sorted(RECIPES))
def test_a_committed_backbone_loads_strictly_and_has_learnt_something(family):
    judge = build_judge(
        BACKBONES / family,
        revision=None,
        head=HeadConfig(),
        num_classes=2,
        attention="auto",
        sliding_window=True,
        dtype="float32",
        head_seed=0,
    )
    assert next(judge.parameters()).dtype is torch.float32
    spread = load_file(BACKBONES / family / "model.safetensors")["embed_tokens.weight"].float().std()
    assert spread > 0.021  # random weights have 0.02


def test_the_sample_environment_starts_from_them():
    """Directly, or from what the simulated arena makes of them: a null source is a raw checkpoint."""
    backbones = {name: judge.backbone for name, judge in load_sample_project(PROJECT / "conf").judges.items()}
    sources = {name: backbone.source and (PROJECT / backbone.source).resolve() for name, backbone in backbones.items()}
    assert sources == {"gemma": None, "gemma_large": BACKBONES / "gemma", "llama": None}
    assert {name: backbone.layout for name, backbone in backbones.items()} == {
        "gemma": "fused",
        "gemma_large": "plain",
        "llama": "fused",
    }
    written = inspect.signature(write_raw_checkpoints).parameters["judges"].default
    assert set(written) == {name for name, source in sources.items() if source is None}
