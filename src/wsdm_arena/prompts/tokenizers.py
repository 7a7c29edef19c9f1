"""Loading tokenizers, and the two variants of one that a prompt is put together with.

Only the fast (Rust) tokenizers are used, as every family we train has one. Nothing here needs torch: a
``tokenizer.json`` is read by transformers' generic class, not by ``AutoTokenizer``, whose import pulls torch in.
"""

import copy
import json
import logging
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

from wsdm_arena.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class PromptError(UserError, ValueError):
    """A tokenizer, template or truncation setting that prompts cannot be built with."""


def load_tokenizer(directory: str | Path, *, revision: str | None = None) -> "PreTrainedTokenizerBase":
    """Load a fast tokenizer from a checkpoint directory or a hub name.

    Args:
        directory: A directory that holds ``tokenizer.json``, or a hub name.
        revision: Commit of the hub's repository; ignored for a directory.

    Raises:
        PromptError: There is no tokenizer there, or only a slow one.
    """
    path = Path(directory)
    if path.is_dir() and not (path / "tokenizer.json").is_file():
        return _convert_tokenizer(path)
    from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(os.fspath(directory), revision=revision or "main")
    except (OSError, ValueError) as error:
        raise PromptError(
            f"no tokenizer could be loaded from {os.fspath(directory)!r}: {error}; "
            "judges.<judge>.backbone must be a directory with tokenizer.json or a hub name"
        ) from error


def fingerprint_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Hash what decides about token ids: vocabulary, rules, control tokens and chat template (32 hex digits)."""
    backend = tokenizer.backend_tokenizer
    forget_calls(backend)
    roles = {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())}
    digest = blake2b(digest_size=16)
    for part in (backend.to_str(), json.dumps(roles), json.dumps(tokenizer.chat_template)):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def forget_calls(backend: Tokenizer) -> None:
    """Undo the truncation and padding that a file or an earlier call left switched on; constant text must be whole."""
    backend.no_truncation()
    backend.no_padding()


def count_token_ids(tokenizer: "PreTrainedTokenizerBase") -> int:
    """One more than the largest id the tokenizer can yield."""
    backend = tokenizer.backend_tokenizer
    return max([backend.get_vocab_size(with_added_tokens=True) - 1, *backend.get_added_tokens_decoder()]) + 1


def is_whitespace(content: str) -> bool:
    """Whether a token stands for whitespace only; ``▁`` is SentencePiece's space."""
    return content != "" and content.replace("▁", " ").isspace()


def find_control_ids(tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Ids that no user text may yield: special tokens and every added token but whitespace.

    The unknown token is exempt unless it has another role too: it is what unknown characters legitimately become.
    """
    special = set(tokenizer.all_special_ids)
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special.update(token_id for token_id, token in added.items() if token.special or not is_whitespace(token.content))
    roles = [getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in roles:
        special.discard(tokenizer.unk_token_id)
    return frozenset(special)


def build_trusted_tokenizer(backend: Tokenizer) -> Tokenizer:
    """A tokenizer for constant text in mid-sequence: control tokens are read as such, no leading space is added."""
    if not _adds_leading_space(backend):
        return backend
    trusted = copy.deepcopy(backend)
    _drop_leading_space(trusted, backend)
    return trusted


def build_untrusted_tokenizer(backend: Tokenizer) -> tuple[Tokenizer, dict[int, int]]:
    """A tokenizer for user text: it knows the vocabulary, but no added token other than whitespace.

    Vocabulary and merges are shared with ``backend``, not copied. Text is read as in mid-sequence (no leading space).

    Returns:
        The tokenizer, and the ids it yields that differ from the backend's, as ``{its id: backend's id}``.
    """
    untrusted = Tokenizer(backend.model)
    _drop_leading_space(untrusted, backend)
    if backend.decoder is not None:
        untrusted.decoder = backend.decoder
    untrusted.encode_special_tokens = True
    renamed: dict[int, int] = {}
    for token_id, token in sorted(backend.get_added_tokens_decoder().items()):
        if token.special or not is_whitespace(token.content):
            continue
        untrusted.add_tokens([_plain_copy(token)])
        own_id = untrusted.token_to_id(token.content)
        if own_id is not None and own_id != token_id:
            renamed[own_id] = token_id
    return untrusted, renamed


def find_character_starts(tokenizer: "PreTrainedTokenizerBase") -> list[bool]:
    """For each id, whether its token begins at a character's boundary.

    Byte-level vocabularies and byte fallback have tokens that begin inside a character: their first byte is a UTF-8
    continuation byte (10xxxxxx).
    """
    backend = tokenizer.backend_tokenizer
    starts = [True] * count_token_ids(tokenizer)
    if _is_byte_level(backend):
        for token, token_id in backend.get_vocab(with_added_tokens=False).items():
            starts[token_id] = token[:1] not in _CONTINUATION_CHARACTERS
        for token_id in backend.get_added_tokens_decoder():
            starts[token_id] = True
    else:
        for byte in range(0x80, 0xC0):
            token_id = backend.model.token_to_id(f"<0x{byte:02X}>")
            if token_id is not None:
                starts[token_id] = False
    return starts


def _byte_level_alphabet() -> dict[int, str]:
    """The character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in alphabet]
    return alphabet | {byte: chr(0x100 + index) for index, byte in enumerate(others)}


_CONTINUATION_CHARACTERS = frozenset(
    character for byte, character in _byte_level_alphabet().items() if 0x80 <= byte < 0xC0
)


def _convert_tokenizer(path: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer  # imports torch; only for directories without tokenizer.json

    logger.info("%s holds no tokenizer.json; transformers converts what is there", path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)  # else it would ask on stdin
    except (OSError, ValueError, KeyError) as error:
        raise PromptError(f"{path} holds no tokenizer.json, and no other tokenizer was found: {error}") from error
    if not tokenizer.is_fast:
        raise PromptError(f"{path} holds only a slow tokenizer; convert it to tokenizer.json first")
    return tokenizer


def _is_byte_level(backend: Tokenizer) -> bool:
    return any('"ByteLevel"' in json.dumps(_describe(part)) for part in (backend.pre_tokenizer, backend.decoder))


def _adds_leading_space(backend: Tokenizer) -> bool:
    return any(
        _without_leading_space(described) != described
        for described in (_describe(backend.normalizer), _describe(backend.pre_tokenizer))
    )


def _drop_leading_space(target: Tokenizer, source: Tokenizer) -> None:
    """Give ``target`` the source's normalizer and pre-tokenizer, less the space they put before a text."""
    parts: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": {}, "merges": []},
        "normalizer": _without_leading_space(_describe(source.normalizer)),
        "pre_tokenizer": _without_leading_space(_describe(source.pre_tokenizer)),
    }
    rebuilt = Tokenizer.from_str(json.dumps(parts))
    target.normalizer = rebuilt.normalizer
    target.pre_tokenizer = rebuilt.pre_tokenizer


def _describe(component: Any) -> dict[str, Any] | None:
    """A normalizer's, pre-tokenizer's or decoder's own JSON."""
    return None if component is None else json.loads(component.__getstate__())


def _without_leading_space(described: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if described is None:
        return None
    if described["type"] == "Sequence":
        name = "normalizers" if "normalizers" in described else "pretokenizers"
        kept = [_without_leading_space(part) for part in described[name]]
        return {**described, name: [part for part in kept if part is not None]}
    if described["type"] == "Prepend":
        return None
    changes: dict[str, dict[str, Any]] = {
        "Metaspace": {"prepend_scheme": "never"},
        "ByteLevel": {"add_prefix_space": False},
    }
    return {**described, **changes.get(described["type"], {})}


def _plain_copy(token: AddedToken) -> AddedToken:
    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=False,
    )
