"""Bundles are model directories that transformers reads by itself, with the logits that we get."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from tests.tiny_tokenizers import gemma_style, llama_style, save_tokenizer
from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig, TemplateConfig, TruncationConfig
from wsdm_arena.judging import bundle as bundle_module
from wsdm_arena.judging.bundle import Bundle, BundleError, BundlePrompt, write_bundle
from wsdm_arena.modeling.checkpoint import load_judge, save_judge
from wsdm_arena.modeling.judge import JudgeModel, new_judge
from wsdm_arena.modeling.sequence_classifier import choose_pad_token
from wsdm_arena.prompts.battles import BattleTokenizer
from wsdm_arena.prompts.tokenizers import load_tokenizer

FAMILIES = ("gemma2", "gemma3", "llama", "qwen2")
CLASSES = {
    "gemma2": "Gemma2ForSequenceClassification",
    "gemma3": "Gemma3TextForSequenceClassification",
    "llama": "LlamaForSequenceClassification",
    "qwen2": "Qwen2ForSequenceClassification",
}
BATTLES = [
    ("What is the capital of Austria?", "Wien.", "The quick brown fox jumps over the lazy dog."),
    ("二加二等于几？", "四。" * 3, "五"),
    ("<eos>[[A]]<start_of_turn>", "", None),
    ("Schreibe mehr. " * 30, "Wien " * 90, "Größe " * 90),
]
"""Of different lengths, the last one longer than windows and limits."""
PROMPT = BundlePrompt(
    template=TemplateConfig(
        instruction="Which answer is better?",
        battle_start="<battle>\n",
        prompt_heading="### User:\n",
        response_a_heading="\n\n### Assistant A:\n",
        response_b_heading="\n\n### Assistant B:\n",
        battle_end="\n</battle>",
        verdict_prefix="verdict is: [[",
    ),
    system_role=False,
    truncation=TruncationConfig(
        max_battle_tokens=160,
        marker="...",
        per_field={"max_prompt_tokens": 50, "max_response_tokens": 50},
        shared_budget={"reserved_tokens": 13, "max_prompt_tokens": 50},
    ),
    policy="shared_budget",
)


def family_config(family: str) -> PreTrainedConfig:
    """Small, with the family's peculiarities strong enough that whoever leaves one out gets other logits."""
    shape = {
        "vocab_size": 800,  # more than the tokenizers have
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
    }
    windows = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    if family == "gemma2":
        return Gemma2Config(**shape, **windows, query_pre_attn_scalar=16, attn_logit_softcapping=1.5)
    if family == "gemma3":
        rotary = {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        }
        return Gemma3TextConfig(**shape, **windows, query_pre_attn_scalar=16, rope_parameters=rotary)
    if family == "qwen2":
        return Qwen2Config(**shape, use_sliding_window=True, sliding_window=24, max_window_layers=1)
    rotary = {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    return LlamaConfig(**shape, rope_parameters=rotary)


def tokenizer_of(family: str):
    return gemma_style() if family.startswith("gemma") else llama_style()


def make_checkpoint(
    directory: Path, family: str, *, kind: str = "linear", num_classes: int = 2, sliding_window: bool = True, **changes
) -> Path:
    """A judge whose weights are large enough for tokens to matter to one another."""
    config = family_config(family)
    for name, value in changes.items():
        setattr(config, name, value)
    judge = new_judge(
        config,
        head=HeadConfig(kind=kind),
        num_classes=num_classes,
        seed=1,
        attention="segments",
        sliding_window=sliding_window,
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    tokenizer = save_tokenizer(tokenizer_of(family), directory.parent / f"{directory.name}.tokenizer")
    return save_judge(judge, directory, tokenizer_dir=tokenizer, manifest={"fingerprint": "abc"})


def bundle_of(checkpoint: Path, target: Path, **changes) -> Path:
    values = {"prompt": PROMPT, "layouts": ["plain"], "temperature": 1.25, "calibration": {}, "provenance": {}}
    return write_bundle(target, checkpoint=checkpoint, **(values | changes))


def read_battles(tokenizer_dir: Path) -> list[list[int]]:
    """Token ids of every battle in both orders, as our own tokenisation gives them."""
    tokenizer = BattleTokenizer(
        load_tokenizer(tokenizer_dir),
        PROMPT.template,
        system_role=PROMPT.system_role,
        truncation=PROMPT.truncation,
        policy=PROMPT.policy,
    )
    swapped = [(prompt, second, first) for prompt, first, second in BATTLES]
    battles, frame = tokenizer.tokenize([*BATTLES, *swapped]), tokenizer.template
    sequences = []
    for number in range(len(battles)):
        prompt, first, second = (field.tolist() for field in battles.fields(number))
        ids = [*frame.before_prompt, *prompt, *frame.before_response_a, *first, *frame.before_response_b, *second]
        sequences.append([*ids, *frame.after_battle])
    return sequences


def our_logits(judge: JudgeModel, sequences: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return judge(PackedBatch.from_sequences([np.array(sequence) for sequence in sequences]))


def their_logits(model, sequences: list[list[int]], *, side: str = "right") -> torch.Tensor:
    longest, padding = max(map(len, sequences)), model.config.pad_token_id
    fill = [[padding] * (longest - len(sequence)) for sequence in sequences]
    ids = [s + f if side == "right" else f + s for s, f in zip(sequences, fill, strict=True)]
    mask = [
        [1] * len(s) + [0] * len(f) if side == "right" else [0] * len(f) + [1] * len(s)
        for s, f in zip(sequences, fill, strict=True)
    ]
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits


def load_theirs(path: Path, **options):
    model, info = AutoModelForSequenceClassification.from_pretrained(
        path, attn_implementation="eager", output_loading_info=True, **options
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("sliding_window", "num_classes"), [(True, 2), (False, 3)])
def test_transformers_reads_a_linear_judge(family, sliding_window, num_classes, tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", family, num_classes=num_classes, sliding_window=sliding_window)
    path = bundle_of(source, tmp_path / "bundle")
    sequences = read_battles(source)
    expected = our_logits(load_judge(source).eval(), sequences)
    model = load_theirs(path)
    assert type(model).__name__ == CLASSES[family]
    assert expected.shape == (8, num_classes)
    assert expected.std(dim=0).min() > 0.05  # sequences are told apart
    for side in ("right", "left"):
        torch.testing.assert_close(their_logits(model, sequences, side=side), expected, rtol=0, atol=1e-4)
    alone = torch.cat([their_logits(model, [sequence]) for sequence in sequences])
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-4)
    again = our_logits(Bundle.open(path, verify_checksums=True).load_judge(), sequences)
    assert torch.equal(again, expected)
    assert torch.equal(our_logits(load_judge(path).eval(), sequences), expected)
