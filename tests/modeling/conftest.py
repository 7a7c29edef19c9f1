"""Tiny random judges of four families, and what transformers itself makes of the same weights."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, Gemma2Config, Gemma3TextConfig, LlamaConfig, PreTrainedConfig, Qwen2Config

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.judge import JudgeModel, new_judge

torch.set_num_threads(1)

FAMILIES = ("gemma2", "gemma3", "llama", "qwen2")
WINDOW = 7
SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}


def family_config(family: str) -> PreTrainedConfig:
    """A config small enough for CPUs, with the family's peculiarities strong enough to matter."""
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    if family == "gemma2":
        return Gemma2Config(
            **SIZES, sliding_window=WINDOW, layer_types=layers, query_pre_attn_scalar=16, attn_logit_softcapping=1.5
        )
    if family == "gemma3":
        rotary = {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        }
        return Gemma3TextConfig(
            **SIZES, sliding_window=WINDOW, layer_types=layers, query_pre_attn_scalar=16, rope_parameters=rotary
        )
    return LlamaConfig(**SIZES) if family == "llama" else Qwen2Config(**SIZES)


def make_judge(family: str, *, sliding_window: bool = True, attention: str = "segments", **head) -> JudgeModel:
    """A judge in evaluation mode whose weights are large enough for tokens to matter to one another."""
    judge = new_judge(
        family_config(family),
        head=HeadConfig(**head),
        num_classes=2,
        seed=1,
        attention=attention,
        sliding_window=sliding_window,
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return judge.eval()


def read_alone(
    judge: JudgeModel, sequences: list[np.ndarray], **config_changes
) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """Transformers' own eager attention on each sequence by itself: the independent reference."""
    config = type(judge.config).from_dict({**judge.config.to_dict(), **config_changes})
    reference = AutoModel.from_config(config, attn_implementation="eager")
    reference.load_state_dict(judge.backbone.state_dict())
    reference.eval()
    states = [
        reference(input_ids=torch.from_numpy(sequence)[None], use_cache=False).last_hidden_state[0]
        for sequence in sequences
    ]
    return reference, states


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def sequences():
    """Lengths around the window, one token, equal ones, and one much longer."""
    generator = np.random.default_rng(0)
    lengths = [5, 30, 1, 18, 90, WINDOW, WINDOW + 1, 30, 2]
    return [generator.integers(0, SIZES["vocab_size"], length) for length in lengths]


@pytest.fixture
def batch(sequences):
    return PackedBatch.from_sequences(sequences)


@pytest.fixture
def make():
    """How tests make what they need of this file."""

    class Make:
        config = staticmethod(family_config)
        judge = staticmethod(make_judge)
        alone = staticmethod(read_alone)

    return Make
