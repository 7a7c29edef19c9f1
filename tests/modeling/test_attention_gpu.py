"""Kernels of GPUs against the fallback, which the other tests hold against transformers itself."""

import numpy as np
import pytest
import torch

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.attention import UnsupportedJudgeError, choose_attention
from wsdm_arena.modeling.judge import new_judge

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
KERNELS = ("flash_attention", "varlen", "flex")


@pytest.fixture(autouse=True)
def no_compiled_kernels():
    """Variants that other tests compiled count towards torch's limit."""
    torch._dynamo.reset()


@pytest.fixture
def long_batch():
    generator = np.random.default_rng(0)
    lengths = [300, 1, 700, 129, 128, 17, 1500]
    return PackedBatch.from_sequences([generator.integers(0, 61, length) for length in lengths]).to("cuda")


def gpu_judge(config, kernel, dtype=torch.bfloat16):
    try:
        choose_attention(config, CUDA, dtype, kernel)
    except UnsupportedJudgeError as error:
        pytest.skip(str(error))
    judge = new_judge(config, head=HeadConfig(), num_classes=2, seed=1, attention=kernel, dtype=torch.float32)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return judge.to(CUDA, dtype).eval()


def read(judge, batch):
    """Hidden states, and gradients of a fixed number made of them."""
    judge.zero_grad()
    hidden = judge.hidden_states(batch)
    direction = torch.cos(torch.arange(hidden.numel(), device=CUDA, dtype=torch.float32)).view_as(hidden)
    (hidden.float() * direction).sum().backward()
    return hidden.detach().float(), [parameter.grad.float() for parameter in judge.backbone.parameters()]


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("head_dim", [64, 256])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_as_close_to_float32_as_the_fallback(family, kernel, head_dim, make, long_batch):
    config = make.config(family)
    config.head_dim, config.hidden_size, config.max_position_embeddings = head_dim, 128, 2048
    if getattr(config, "sliding_window", None) is not None:
        config.sliding_window = 200
    exact, exact_gradients = read(gpu_judge(config, "segments", torch.float32), long_batch)
    fallback, fallback_gradients = read(gpu_judge(config, "segments"), long_batch)
    hidden, gradients = read(gpu_judge(config, kernel), long_batch)
    assert relative(hidden, exact) < 1.5 * relative(fallback, exact) + 1e-3
    for ours, theirs, reference in zip(gradients, fallback_gradients, exact_gradients, strict=True):
        assert relative(ours, reference) < 2 * relative(theirs, reference) + 5e-3


@pytest.mark.parametrize("kernel", [*KERNELS, "segments"])
def test_no_segment_sees_another_on_a_gpu(family, kernel, make, long_batch):
    judge = gpu_judge(make.config(family), kernel)
    with torch.no_grad():
        before = judge.hidden_states(long_batch)
        changed = PackedBatch(
            long_batch.input_ids.clone(), long_batch.position_ids, long_batch.cu_seqlens, long_batch.boundaries
        )
        inside = slice(long_batch.boundaries[2], long_batch.boundaries[3])
        changed.input_ids[inside] = (changed.input_ids[inside] + 1) % 61
        after = judge.hidden_states(changed)
    assert not torch.equal(after[inside], before[inside])
    after[inside] = before[inside]
    assert torch.equal(after, before)


@pytest.mark.parametrize("kernel", KERNELS)
def test_compiled_layers_agree(family, kernel, make, long_batch):
    judge = gpu_judge(make.config(family), kernel)
    with torch.no_grad():
        expected = judge.hidden_states(long_batch).float()
        torch._dynamo.reset()
        for layer in judge.decoder_layers:
            layer.compile()
        assert relative(judge.hidden_states(long_batch).float(), expected) < 2e-2


def test_no_layer_waits_for_the_gpu(make, long_batch):
    judge = gpu_judge(make.config("llama"), "varlen")
    with torch.no_grad():
        judge(long_batch)
        torch.cuda.set_sync_debug_mode("error")
        try:
            judge(long_batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_half_precision_of_old_gpus_follows_float32(family, make, long_batch):
    config = make.config(family)
    exact, _ = read(gpu_judge(config, "segments", torch.float32), long_batch)
    half, _ = read(gpu_judge(config, "segments", torch.float16), long_batch)
    assert relative(half, exact) < 2e-2
