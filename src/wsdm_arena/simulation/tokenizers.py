"""Tokenizers for the tiny backbones: byte-level BPE, in the manner of Gemma 2 and of Llama 3.

The chat templates keep each family's habits that matter to a judge (control tokens, one BOS, whether there is a system
role) and are our own wording of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TokenizerFamily = Literal["gemma", "llama"]

_PIECES = Regex(r"[ \n]?[\p{L}\p{M}]+|\p{N}|[ \n]?[^\s\p{L}\p{M}\p{N}]+|\s+")
"""Words with their marks (an Indic vowel sign belongs to its word), single digits, runs of punctuation, blanks.

A line feed joins the word after it, so that a heading at the start of a line costs no token more than within it."""

_GEMMA_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- raise_exception('this model has no system role; put the instruction into the user message') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}
    {{- message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

_LLAMA_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""


@dataclass(frozen=True)
class _Family:
    special_tokens: tuple[str, ...]
    """All control tokens; their ids are their positions."""
    roles: dict[str, str]
    """Keyword of ``PreTrainedTokenizerFast`` to token."""
    chat_template: str


_FAMILIES: dict[TokenizerFamily, _Family] = {
    "gemma": _Family(
        special_tokens=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        roles={"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        chat_template=_GEMMA_TEMPLATE,
    ),
    "llama": _Family(
        special_tokens=(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|finetune_right_pad_id|>",
        ),
        roles={
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|finetune_right_pad_id|>",
        },
        chat_template=_LLAMA_TEMPLATE,
    ),
}


def build_tokenizer(texts: Iterable[str], family: TokenizerFamily, *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a small tokenizer; ``save_pretrained`` writes it as a directory that transformers reads.

    Encoding with special tokens puts one BOS first, as both families do, so text rendered by the chat template is to be
    encoded with ``add_special_tokens=False``.

    Args:
        texts: What to learn merges from; include rendered templates, so that their words become single tokens.
        family: Control tokens and chat template; ``gemma`` has no system role and refuses a system message.
        vocab_size: Tokens in all: control tokens, the 256 bytes and the merges. Equal texts give equal merges.

    Raises:
        ValueError: ``vocab_size`` has no room for the bytes, or the texts are too few for so many merges.
    """
    chosen = _FAMILIES[family]
    smallest = len(chosen.special_tokens) + 256
    if vocab_size < smallest:
        raise ValueError(f"vocab_size={vocab_size} is too small: control tokens and bytes alone are {smallest}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(chosen.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(
            f"the texts yield only {tokenizer.get_vocab_size()} tokens, not vocab_size={vocab_size}; give more texts"
        )
    bos = chosen.roles["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=[t for t in chosen.special_tokens if t not in chosen.roles.values()],
        chat_template=chosen.chat_template,
        clean_up_tokenization_spaces=False,
        model_max_length=8192,
        **chosen.roles,
    )
