"""Tiny tokenizers in the styles of the families we train: built in seconds, no download, no file of anyone else's."""

from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

CORPUS = (
    "The quick brown fox jumps over the lazy dog. What is the capital of France? It is Paris, on the river Seine.",
    "Please write a function that adds two numbers:\n\n```python\ndef add(a, b):\n    return a + b\n```\n",
    "Which answer is better? The first one is longer, but the second one is right: 12 + 30 = 42, not 44.",
    "Столица Франции — Париж. Сколько будет два плюс два? Четыре, конечно. Напишите короткий рассказ.",
    "法国的首都是巴黎。请写一首关于春天的诗。二加二等于四。",
    "フランスの首都はパリです。春についての俳句を書いてください。ありがとうございます。",
    "¿Cuál es la capital de España? Madrid, por supuesto. El perezoso perro duerme bajo el árbol.",
    "Was ist die Hauptstadt von Österreich? Wien. Schöne Grüße aus den Bergen, es wäre größer als früher.",
    "Thủ đô của Việt Nam là gì? Hà Nội. Xin hãy giải thích điều này một cách ngắn gọn.",
    "مرحبا بالعالم. ما هي عاصمة مصر؟ القاهرة هي عاصمة مصر.",
    "프랑스의 수도는 파리입니다. 봄에 대한 시를 써 주세요.",
    "### User:\n\n### Assistant A:\n\n### Assistant B:\n\nverdict is: [[A]] [[B]]\n...\n...\n",
)
"""Sentences of our own in the scripts that tests use."""

GEMMA_CONTROL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<unused0>")
GEMMA_ROLES = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
LLAMA_CONTROL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)

GEMMA_CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
LLAMA_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% set turn = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{{ (bos_token + turn) if loop.first else turn }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


@cache
def gemma_style(vocab_size: int = 768, corpus: tuple[str, ...] = CORPUS) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Gemma's control tokens and chat turns; no system role; newline runs are added tokens."""
    backend = _train_byte_level(vocab_size, GEMMA_CONTROL_TOKENS, corpus)
    # As in Gemma, whitespace runs are added tokens that are not special: ordinary text may yield them.
    backend.add_tokens([AddedToken("\n" * n, normalized=False) for n in (2, 3)])
    _prepend_bos(backend, "<bos>")
    return _wrap(
        backend, GEMMA_CHAT_TEMPLATE, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


@cache
def llama_style(vocab_size: int = 768, corpus: tuple[str, ...] = CORPUS) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Llama 3's control tokens behind the vocabulary, its headers, and a system role."""
    backend = _train_byte_level(vocab_size - len(LLAMA_CONTROL_TOKENS), (), corpus)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in LLAMA_CONTROL_TOKENS])
    _prepend_bos(backend, "<|begin_of_text|>")
    return _wrap(backend, LLAMA_CHAT_TEMPLATE, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


@cache
def byte_fallback_style(vocab_size: int = 1024, *, prefix_space: bool = False) -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE: spaces become ``▁``, characters out of the vocabulary fall back to bytes.

    Args:
        vocab_size: Entries, control tokens and the 256 bytes included.
        prefix_space: Whether every text gets a leading ``▁``, as in Llama 2; Gemma does not.
    """
    scheme = "first" if prefix_space else "never"
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*GEMMA_CONTROL_TOKENS, *byte_tokens],
        # Leaves rare characters out, so that byte fallback really happens.
        limit_alphabet=150,
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS * 2, trainer)
    backend = Tokenizer(trained.model)  # without the bytes as added tokens: they are entries of the vocabulary only
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in GEMMA_CONTROL_TOKENS])
    backend.add_tokens([AddedToken("\n" * n, normalized=False) for n in (2, 3)])
    _prepend_bos(backend, "<bos>")
    return _wrap(
        backend, GEMMA_CHAT_TEMPLATE, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> Path:
    """Write ``tokenizer.json`` and its configuration, as beside a checkpoint."""
    tokenizer.save_pretrained(directory)
    return directory


def _train_byte_level(vocab_size: int, control_tokens: tuple[str, ...], corpus: tuple[str, ...]) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(control_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus * 2, trainer)
    return backend


def _prepend_bos(backend: Tokenizer, bos_token: str) -> None:
    """Let the tokenizer add a BOS by itself, so that template and tokenizer could double it."""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos_token} $A",
        pair=f"{bos_token} $A $B",
        special_tokens=[(bos_token, backend.token_to_id(bos_token))],
    )


def _wrap(backend: Tokenizer, chat_template: str, **control_tokens: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **control_tokens)
    tokenizer.chat_template = chat_template
    return tokenizer
