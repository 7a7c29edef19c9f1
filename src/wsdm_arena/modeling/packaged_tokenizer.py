"""The tokenizer inside of a GGUF file, read as its language model was trained."""

import json
import logging
from pathlib import Path

from jinja2.exceptions import TemplateError
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from wsdm_arena.config import PackagedModelConfig
from wsdm_arena.modeling.packaged_files import PackagedModelError

logger = logging.getLogger(__name__)

PROBE = "Which of the two answers is better? 2 + 2 = 4.\n\n1. Καλημέρα, 你好."
"""A text that every tokenizer must give back."""

_HOW_WORDS_ARE_SPLIT = "tokenizer.ggml.pre"
_DIGITS_APART = frozenset({"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"})
"""Names of GPT-2's way of splitting text into words with each digit a word of its own, as llama.cpp reads them."""
_AS_GPT2 = frozenset({"gpt-2", "mpt", "olmo", "jais"})


def read_packaged_tokenizer(package: PackagedModelConfig, file: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a GGUF file, and give it the configuration's chat template.

    transformers does not know all ways of splitting text into words that a file may name, and takes GPT-2's for the
    others. For SmolLM2 that made every number cling to the space or the line break before it, which cost its language
    model 3 % of the bits of texts with numbers; such tokenizers get the step that is missing.

    Args:
        package: Whose.
        file: The GGUF file.

    Raises:
        PackagedModelError: The tokenizer does not give a text back or has no offsets, there is no chat template, or it
            cannot be rendered; says which, and what helps.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    if not tokenizer.is_fast:
        raise PackagedModelError(f"{package.title}: transformers has no fast tokenizer for this file")
    _split_digits_apart(package, tokenizer, file)
    given_back = str(tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=False)))
    if given_back.strip() != PROBE:
        raise PackagedModelError(
            f"{package.title}: transformers does not read its tokenizer well, as {PROBE!r} comes back as {given_back!r}"
        )
    if package.chat_template is not None:
        tokenizer.chat_template = package.chat_template
    _check_chat_template(package, tokenizer)
    return tokenizer


def find_end_of_turn(package: PackagedModelConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of ``end_of_turn``; None where the configuration names none.

    Raises:
        PackagedModelError: It is not a single token.
    """
    if package.end_of_turn is None:
        return None
    ids = list(tokenizer.encode(package.end_of_turn, add_special_tokens=False))
    if len(ids) != 1:
        raise PackagedModelError(
            f"{package.title}: end_of_turn {package.end_of_turn!r} is no single token of its tokenizer, which reads "
            f"{len(ids)}; correct it in packaged_models.<name>"
        )
    return int(ids[0])


def _split_digits_apart(package: PackagedModelConfig, tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    backend = tokenizer.backend_tokenizer
    splits = json.loads(backend.to_str())["pre_tokenizer"] or {}
    if splits.get("type") != "ByteLevel" or not splits.get("use_regex"):
        return  # transformers knew what the file names, or it is no byte-level vocabulary
    from gguf import GGUFReader  # not everybody has it; who reads such a file was asked to install it

    field = GGUFReader(file).get_field(_HOW_WORDS_ARE_SPLIT)
    named = None if field is None else field.contents()
    if named in _DIGITS_APART:
        by_words = ByteLevel(add_prefix_space=False, use_regex=True)
        backend.pre_tokenizer = Sequence([Digits(individual_digits=True), by_words])
    elif named is not None and named not in _AS_GPT2:
        logger.warning(
            "%s: its file says that words are split as %r, which is not known here: GPT-2's way is taken",
            package.title,
            named,
        )


def _check_chat_template(package: PackagedModelConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.chat_template is None:
        raise PackagedModelError(
            f"{package.title}: the file has no chat template; write one in packaged_models.<name>.chat_template"
        )
    turn = [{"role": "user", "content": PROBE}]
    try:
        rendered = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    except (TemplateError, TypeError) as error:
        raise PackagedModelError(
            f"{package.title}: the chat template cannot be rendered: {error}; correct it in "
            "packaged_models.<name>.chat_template"
        ) from error
    if PROBE not in rendered:
        raise PackagedModelError(
            f"{package.title}: the chat template loses what the user says; correct it in "
            "packaged_models.<name>.chat_template"
        )
