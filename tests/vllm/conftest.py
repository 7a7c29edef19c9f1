"""vLLM's interpreter, and a model that is small enough for any machine."""

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

import wsdm_arena.simulation

PROJECT = Path(__file__).parents[2]
TOKENIZER = Path(wsdm_arena.simulation.__file__).parent / "tiny_backbones" / "llama"
MAX_TOKENS = 512


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """``$VLLM_PYTHON``, else that of ``make vllm``."""
    python = os.environ.get("VLLM_PYTHON", str(PROJECT / ".venv-vllm" / "bin" / "python"))
    assert os.access(python, os.X_OK), f"{python} is not there: make vllm"
    return python


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with the sample's tokenizer; about one in thirty tokens that it draws ends its answer."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config)
    ends = [tokenizer.eos_token_id, *range(300, len(tokenizer), 30)]
    model.generation_config = GenerationConfig(eos_token_id=ends, bos_token_id=tokenizer.bos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
