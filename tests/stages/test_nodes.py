"""Nodes of every training, outside of a pipeline."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from wsdm_arena.config import ResolvedJudge, TemplateConfig, TruncationConfig
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.prompts.template import require_answers
from wsdm_arena.prompts.tokenizers import PromptError, load_tokenizer
from wsdm_arena.simulation.backbones import BACKBONES
from wsdm_arena.stages.nodes import tokenize_tables

TRUNCATION = TruncationConfig.model_validate(
    {
        "max_battle_tokens": 256,
        "marker": "...",
        "per_field": {"max_prompt_tokens": 64, "max_response_tokens": 64},
        "shared_budget": {"reserved_tokens": 13, "max_prompt_tokens": 64},
    }
)
PAIRS = pd.DataFrame({"pair_id": ["a", "b"], "prompt": ["1 + 1?", "2 + 2?"], "response_a": "2", "response_b": "4"})


def tokenize(root: Path, *, kind: str, backbone: Path = BACKBONES / "gemma", **template) -> dict[str, str]:
    judge = {"stage": "teacher", "judge": "gemma", "system_role": False, "attention": "auto", "head": {"kind": kind}}
    judge |= {"sliding_window": True, "truncation": "per_field", "training": {}}
    return tokenize_tables(
        ResolvedJudge.model_validate(judge),
        backbone,
        TemplateConfig(**template),
        TRUNCATION,
        root,
        battles=PAIRS,
    )


def test_heads_share_tokens_unless_one_starts_from_answers_of_its_own(tmp_path):
    usual = tokenize(tmp_path, kind="verbalizer")
    assert tokenize(tmp_path, kind="linear") == tokenize(tmp_path, kind="mlp", answers=("B", "A")) == usual
    exchanged = tokenize(tmp_path, kind="verbalizer", answers=("B", "A"))
    assert exchanged != usual
    expected = require_answers(load_tokenizer(BACKBONES / "gemma"), TemplateConfig())
    assert TokenStore.open(usual["battles"]).template.answers == expected
    assert TokenStore.open(exchanged["battles"]).template.answers == expected[::-1]


def test_what_a_verbalizer_cannot_start_from_is_refused_before_anything_is_tokenised(tmp_path):
    backbone = shutil.copytree(BACKBONES / "gemma", tmp_path / "backbone")
    described = json.loads((backbone / "config.json").read_text())
    (backbone / "config.json").write_text(json.dumps(described | {"tie_word_embeddings": False}))
    with pytest.raises(UnsupportedJudgeError, match=f"{backbone} is no whole language model"):
        tokenize(tmp_path / "tokens", kind="verbalizer", backbone=backbone)
    with pytest.raises(PromptError, match="first one' as"):
        tokenize(tmp_path / "tokens", kind="verbalizer", answers=("the first one", "B"))
    assert not (tmp_path / "tokens").exists()
    assert set(tokenize(tmp_path / "tokens", kind="linear", backbone=backbone, answers=("the first one", "B"))) == {
        "battles"
    }
