"""The committed backbones are what the recipes describe, small, and what the sample environment reads."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.simulation.backbones import BACKBONES, RECIPES, VOCABULARY_SIZE, load_sample_project

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


def test_the_sample_environment_reads_them():
    project = load_sample_project(PROJECT / "conf")
    folders = {judge: (PROJECT / config.backbone).resolve() for judge, config in project.judges.items()}
    assert folders == {
        "gemma": BACKBONES / "gemma",
        "gemma_large": BACKBONES / "gemma",
        "llama": BACKBONES / "llama",
    }
