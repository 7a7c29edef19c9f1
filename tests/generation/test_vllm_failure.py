"""What vLLM 0.32 said when it was made to fail, and what is made of it."""

import pytest

from wsdm_arena.generation.vllm_failure import explain_failure, strip_prefix, telling_line

CORE = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("ModuleNotFoundError: No module named 'vllm'", "/env/python has no vllm: `make vllm`"),
        (
            "RuntimeError: vllm cannot be imported: libcudart.so.12: cannot open",
            "remove the environment and `make vllm`",
        ),
        (
            "[rank0]: ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utili",
            "lower generation.answer_models.tiny.max_model_tokens, or raise generation.vllm.cpu_kv_cache_gib",
        ),
        (
            "ValueError: To serve at least one request with the model's max seq len (512), (0.5 GiB KV cache is need"
            "ed, which is larger than the available KV cache memory (0.1 GiB).",
            "there is no room for the keys and values of one sequence",
        ),
        (
            "[rank0]: ValueError: Available memory on node 0 (18.61/23.54 GiB) on kv cache allocation is less than "
            "requested memory for kv (92.2 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce",
            "not enough memory for generation.vllm.cpu_kv_cache_gib: lower it",
        ),
        (
            "(EngineCore pid=7) ERROR 11-23 02:32:35 [core.py:9] torch.OutOfMemoryError: CUDA out of memory. Tried to",
            "lower generation.vllm.gpu_memory_fraction",
        ),
        ("worker 1 of 1 was ended by SIGKILL (often: out of memory)", "most likely for want of memory"),
        (
            "  Value error, User-specified max_model_len (4096) is greater than the derived max_model_len (max_posi",
            "generation.answer_models.tiny.max_model_tokens is more than the model can take",
        ),
        (
            "  Value error, The checkpoint you are trying to load has model type `nosuch` but Transformers does not "
            "recognize this architecture. This could be because of an issue with the checkpoint",
            "set generation.answer_models.tiny.engine to transformers",
        ),
        ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", "nor to be had from the hub"),
        (
            "(Worker pid=3211) ERROR 11-23 02:32:35 [multiproc_executor.py:953] safetensors._safetensors_rust."
            "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered",
            "weights are missing or cut off",
        ),
        ("[rank0]: RuntimeError: Cannot find any model weights with `/m`", "weights are missing or cut off"),
        ("ValueError: Couldn't instantiate the backend tokenizer from one of: ", "the model has no tokenizer"),
    ],
)
def test_known_causes_have_a_cure_and_keep_vllms_words(line, cure):
    printed = ["Traceback (most recent call last):", line, "INFO: bye", CORE]
    explained = explain_failure(printed, name="tiny", python="/env/python")
    first, second = explained.splitlines()
    assert cure in first
    assert second == f"vLLM said: {strip_prefix(line).strip()}"
    assert "{" not in first


def test_what_is_not_known_is_told_in_the_words_that_say_most():
    lines = [
        "(Worker pid=1) ERROR 11-23 02:32:35 [a.py:9] KeyError: 'lm_head'",
        "Traceback (most recent call last):",
        CORE,
    ]
    assert explain_failure(lines, name="tiny", python="p") is None
    assert telling_line(lines) == "KeyError: 'lm_head'"
    assert telling_line([CORE]) == CORE
    assert telling_line(["Segmentation fault", ""]) == "Segmentation fault"
    assert telling_line([]) == "(nothing)"
