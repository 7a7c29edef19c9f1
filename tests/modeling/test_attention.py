import importlib.util
import sys
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.modeling import attention as attention_module
from wsdm_arena.modeling import flex
from wsdm_arena.modeling import judge as judge_module
from wsdm_arena.modeling.attention import UnsupportedJudgeError, choose_attention, plan_attention
from wsdm_arena.modeling.flex import block_mask

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Pretend a GPU of some capability and some installed packages; flash_attn is imported, the others looked for."""
    find = importlib.util.find_spec

    def pretend(capability=(9, 0), packages=("triton", "torch.nn.attention.varlen")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        optional = ("triton", "torch.nn.attention.varlen")
        flash_attn = ModuleType("flash_attn") if "flash_attn" in packages else None  # None cannot be imported
        if flash_attn is not None:
            flash_attn.flash_attn_varlen_func = None  # type: ignore[attr-defined]
        attention_module._flash_function.cache_clear()
        monkeypatch.setitem(sys.modules, "flash_attn", flash_attn)
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name: find("json" if name in packages else "no_such_package") if name in optional else find(name),
        )

    yield pretend
    attention_module._flash_function.cache_clear()


def choose(config, requested="auto", device=CUDA, dtype=torch.bfloat16):
    return choose_attention(config, device, dtype, requested)


def test_auto_takes_the_fastest_kernel_there_is(machine, make):
    gemma2, llama = make.config("gemma2"), make.config("llama")
    machine(packages=("triton", "torch.nn.attention.varlen", "flash_attn"))
    assert [choose(config) for config in (gemma2, llama)] == ["flash_attention", "flash_attention"]
    assert [choose(config, device=CPU) for config in (gemma2, llama)] == ["segments", "segments"]
    assert choose(llama, dtype=torch.float32) == "flex"
    machine()
    assert [choose(config) for config in (gemma2, llama)] == ["flex", "varlen"]
    machine(packages=())
    assert [choose(config) for config in (gemma2, llama)] == ["segments", "segments"]
    machine(capability=(7, 5), packages=("triton", "torch.nn.attention.varlen", "flash_attn"))
    assert [choose(config, dtype=torch.float16) for config in (gemma2, llama)] == ["segments", "segments"]


@pytest.mark.parametrize(
    ("family", "requested", "changes", "message"),
    [
        ("llama", "flash_attention", {"device": CPU}, "CUDA device"),
        ("llama", "flash_attention", {}, "flash-attn"),
        ("gemma2", "varlen", {}, "no soft-capping"),
        ("llama", "varlen", {"dtype": torch.float32}, "float16 or bfloat16"),
    ],
)
def test_impossible_requests_name_what_is_missing(machine, make, family, requested, changes, message):
    machine()
    with pytest.raises(UnsupportedJudgeError, match=message) as error:
        choose(make.config(family), requested, **changes)
    assert f"attention={requested!r}" in str(error.value)
    assert "auto" in str(error.value)


def test_flash_attn_that_was_built_for_another_torch_is_missing(machine, make, monkeypatch, tmp_path):
    machine(packages=("triton",))
    (tmp_path / "flash_attn.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn")
    assert choose(make.config("llama")) == "flex"
    with pytest.raises(UnsupportedJudgeError, match=r"undefined symbol: _ZN3c10\): `make flash-attn` builds it"):
        choose(make.config("llama"), "flash_attention")


def test_old_gpus_and_wide_heads_are_named(machine, make):
    machine(capability=(7, 5))
    with pytest.raises(UnsupportedJudgeError, match=r"compute capability 8.0, this device has 7.5"):
        choose(make.config("llama"), "varlen", dtype=torch.float16)
    machine()
    config = make.config("llama")
    config.head_dim = 512
    with pytest.raises(UnsupportedJudgeError, match="at most 256 dimensions, these have 512"):
        choose(config, "varlen")


def attend_as_documented(query, key, value, cu_seqlens, max_seqlen, scale, left, softcap=0.0):
    """Variable-length attention by its manual: (T, H, D), ``left`` tokens before each are seen, -1 for all."""
    assert max_seqlen == max(end - start for start, end in pairwise(cu_seqlens.tolist()))
    assert not softcap
    outputs = []
    for start, end in pairwise(cu_seqlens.tolist()):
        q, k, v = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        positions = torch.arange(end - start)
        distance = positions[:, None] - positions
        seen = (distance >= 0) & ((distance <= left) if left >= 0 else torch.ones_like(distance, dtype=torch.bool))
        output = scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=True)
        outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)


def varlen_by_the_manual(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa):
    assert torch.equal(cu_q, cu_k)
    assert (max_q, enable_gqa, window_size[1]) == (max_k, True, 0)
    return attend_as_documented(query, key, value, cu_q, max_q, scale, window_size[0])


def varlen_of_torch_2_11(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size):
    assert key.shape == value.shape == query.shape
    return attend_as_documented(query, key, value, cu_q, max_q, scale, window_size[0])


def flash_by_the_manual(query, key, value, cu_q, cu_k, max_q, max_k, *, softmax_scale, causal, window_size, softcap):
    assert torch.equal(cu_q, cu_k)
    assert (max_q, causal, window_size[1]) == (max_k, True, 0)
    return attend_as_documented(query, key, value, cu_q, max_q, softmax_scale, window_size[0], softcap)


@pytest.mark.parametrize("family", ["gemma3", "llama", "qwen2"])  # without soft-cap
@pytest.mark.parametrize("kernel", ["varlen", "flash_attention"])
def test_gpu_kernels_get_layout_window_and_scale_as_their_manuals_say(family, kernel, make, batch, monkeypatch):
    judge = make.judge(family)
    expected = judge.hidden_states(batch)
    monkeypatch.setattr(attention_module, "_varlen_function", lambda: varlen_by_the_manual)
    monkeypatch.setattr(attention_module, "_flash_function", lambda: flash_by_the_manual)
    monkeypatch.setattr(judge_module, "choose_attention", lambda *_: kernel)
    judge._kernels.clear()
    torch.testing.assert_close(judge.hidden_states(batch), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", ["gemma3", "llama", "qwen2"])
def test_varlen_attention_without_grouped_heads_gets_them_repeated(family, make, batch, monkeypatch):
    judge = make.judge(family)
    assert judge.config.num_key_value_heads < judge.config.num_attention_heads
    expected = judge.hidden_states(batch)
    monkeypatch.setattr(attention_module, "_varlen_function", lambda: varlen_of_torch_2_11)
    monkeypatch.setattr(judge_module, "choose_attention", lambda *_: "varlen")
    judge._kernels.clear()
    torch.testing.assert_close(judge.hidden_states(batch), expected, rtol=0, atol=2e-5)


def test_soft_caps_reach_flash_attention(make, batch, monkeypatch):
    caps = []

    def record(query, *_, softcap, **__):
        caps.append(softcap)
        return query

    monkeypatch.setattr(attention_module, "_flash_function", lambda: record)
    monkeypatch.setattr(judge_module, "choose_attention", lambda *_: "flash_attention")
    make.judge("gemma2")(batch)
    make.judge("llama")(batch)
    assert caps == [1.5] * 3 + [0.0] * 3


def test_flex_equals_segments(family, make, batch, monkeypatch):
    judge = make.judge(family)
    with torch.no_grad():  # on a CPU flex_attention has no backward pass
        expected = judge.hidden_states(batch)
        monkeypatch.setattr(attention_module, "flex_function", lambda: flex_attention)
        monkeypatch.setattr(judge_module, "choose_attention", lambda *_: "flex")
        judge._kernels.clear()
        torch.testing.assert_close(judge.hidden_states(batch), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("window", [None, 7, 128, 129, 300])
def test_flex_tiles_are_exactly_those_that_are_seen(window):
    generator = np.random.default_rng(0)
    full = 0
    for lengths in ([700], [1], [128, 128], [5, 300, 1, 129, 127, 40], [640, 10, 640]):
        batch = PackedBatch.from_sequences([generator.integers(0, 9, length) for length in lengths])
        ours = block_mask(batch, window)
        theirs = create_block_mask(ours.mask_mod, None, None, batch.num_tokens, batch.num_tokens, device="cpu")
        assert torch.equal(ours.to_dense(), theirs.to_dense())
        assert torch.equal(ours.full_kv_num_blocks, theirs.full_kv_num_blocks)
        full += int(ours.full_kv_num_blocks.sum())
    assert full > 0 or window in (7, 128, 129)


def test_flex_makes_one_mask_for_each_kind_of_layer(make, batch):
    masks = {
        family: set(plan_attention("flex", batch, make.config(family)).block_masks) for family in ("gemma2", "llama")
    }
    assert masks == {"gemma2": {None, 7}, "llama": {None}}
    assert set(plan_attention("flex", batch, make.judge("gemma2", sliding_window=False).config).block_masks) == {None}


def test_layers_compile_whole_and_not_anew_for_every_batch(make, sequences, monkeypatch):
    monkeypatch.setattr(attention_module, "_varlen_function", lambda: lambda query, *_, **__: query * 1)
    monkeypatch.setattr(judge_module, "choose_attention", lambda *_: "varlen")
    judge = make.judge("gemma3", attention="varlen")
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    batches = [PackedBatch.from_sequences(sequences[start:]) for start in range(5)]
    expected = [judge(batch) for batch in batches]
    for layer in judge.decoder_layers:
        layer.compile(backend=count, fullgraph=True)
    assert all(torch.equal(judge(batch), logits) for batch, logits in zip(batches, expected, strict=True))
    assert 1 <= len(graphs) <= 6  # the first sizes, then any; layers with and without a window


def test_compiled_layers_may_use_the_fallback(make, batch):
    judge = make.judge("gemma2")
    expected = judge(batch)
    torch._dynamo.reset()
    for layer in judge.decoder_layers:
        layer.compile(backend="eager")
    assert torch.equal(judge(batch), expected)


def test_a_kernel_that_is_compiled_too_often_is_an_error_and_no_fallback(monkeypatch):
    """Beyond torch's own limit of 8 variants flex_attention would make all scores, without a word."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", False)
    monkeypatch.setattr(flex, "MAX_VARIANTS", 3)
    flex._compiled_flex.cache_clear()
    try:
        flex.flex_function()
        torch._dynamo.reset()
        double = torch.compile(lambda numbers: numbers * 2, backend="eager", dynamic=False)
        for size in (1, 2, 3):
            assert torch.equal(double(torch.ones(size)), torch.full((size,), 2.0))
        with pytest.raises(FailOnRecompileLimitHit):
            double(torch.ones(4))
    finally:
        flex._compiled_flex.cache_clear()
        torch._dynamo.reset()
