"""Token stores: the tokens of one table for one tokenizer, template and truncation, on disk and memory-mapped.

A store is a directory ``<root>/<table>.<key>`` whose key is a hash of everything its contents depend on, so a store
never has to be refreshed: other contents have another name. It appears by one rename, when it is complete.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsdm_arena.config import TemplateConfig, TruncationConfig, TruncationPolicy
from wsdm_arena.errors import UserError
from wsdm_arena.prompts.battles import NUM_FIELDS, BattleTokenizer, assemble_sequence
from wsdm_arena.prompts.pairs import PairTexts, encode_pair_ids
from wsdm_arena.prompts.store_writer import StoreWriter
from wsdm_arena.prompts.template import RenderedTemplate, require_answers
from wsdm_arena.prompts.tokenizers import count_token_ids, fingerprint_tokenizer, load_tokenizer
from wsdm_arena.runs.files import MANIFEST, sha256_of
from wsdm_arena.runs.formats import TOKENS_FORMAT
from wsdm_arena.runs.work import record_work

logger = logging.getLogger(__name__)

_USUAL_ANSWERS = TemplateConfig().answers

Progress = Callable[[int, int], None]
"""Called with the number of pairs done and of all pairs."""


class TokenStoreError(UserError, RuntimeError):
    """A directory that is not a complete token store, or keys that a store does not hold."""


def build_token_store(
    pairs: pd.DataFrame,
    *,
    table: str,
    tokenizer_dir: str | Path,
    revision: str | None = None,
    template: TemplateConfig,
    system_role: bool,
    truncation: TruncationConfig,
    policy: TruncationPolicy,
    root: Path,
    progress: Progress | None = None,
    for_verbalizer: bool = False,
) -> Path:
    """Tokenize a table once; a store that is already there is returned at once.

    Any number of processes may build the same store at the same time: each writes a directory of its own, and the
    first to finish gives it its name.

    Args:
        pairs: Columns ``pair_id``, ``prompt``, ``response_a``, ``response_b``; texts may be null. A pair that occurs
            several times is stored once.
        table: The table's name, as in a selection's column ``table``.
        tokenizer_dir: Directory or hub name of the tokenizer.
        revision: Commit of the hub's repository.
        template: The judging prompt.
        system_role: Whether the chat template takes a system message.
        truncation: Both policies' numbers.
        policy: Which of them is used.
        root: Where stores lie.
        progress: Told how far the work is; by default nothing is shown.
        for_verbalizer: Whether a head is to start from ``template.answers``. Otherwise these are not looked at: they
            make no other tokens, so that they make no other store either.

    Returns:
        The store's directory.

    Raises:
        PromptError: Table, tokenizer, template and truncation do not go together; or ``for_verbalizer``, and an answer
            is not one token.
        TokenStoreError: A directory of the store's name is there, but is no complete store, or its contents are not as
            they were written.
    """
    tokenizer = load_tokenizer(tokenizer_dir, revision=revision)
    if for_verbalizer:
        require_answers(tokenizer, template)
    else:
        template = template.model_copy(update={"answers": _USUAL_ANSWERS})
    texts = PairTexts.from_frame(pairs, table=table)
    identity = {
        "format": TOKENS_FORMAT,
        "table_hash": texts.content_hash,
        "tokenizer_hash": fingerprint_tokenizer(tokenizer),
        "template": _describe_template(template),
        "system_role": system_role,
        "truncation": _describe_truncation(truncation, policy),
    }
    path = Path(root) / f"{table}.{hash_identity(identity)}"
    if path.exists():
        _require_undamaged(TokenStore.open(path))
        logger.info("tokens of %s are there already: %s", table, path)
        record_work("tokens", path.name, "reused", path)
        return path
    battle_tokenizer = BattleTokenizer(
        tokenizer, template, system_role=system_role, truncation=truncation, policy=policy
    )
    manifest = {"table": table, "tokenizer": str(tokenizer_dir), "revision": revision, **identity}
    with StoreWriter(path, num_token_ids=count_token_ids(tokenizer)) as writer:
        writer.write_battles(texts, battle_tokenizer, progress)
        writer.finish(manifest, battle_tokenizer)
    store = TokenStore.open(path)
    _log_summary(store)
    record_work("tokens", path.name, "made", path)
    return path


class TokenStore:
    """A token store opened for reading; nothing but the columns that are asked for is read into memory.

    Rows are numbered in the order of ``pair_id``. A row holds a battle's three texts, truncated; sequences are put
    together from them and the template, so both orders of a battle are exact mirror images.

    Attributes:
        path: The store's directory.
        manifest: What the store was made from, its policy, bounds and counts.
        template: The constant ids of every sequence.
        original_tokens: ``(N, 3)`` int32, tokens of each whole text.
        kept_tokens: ``(N, 3)`` int32, how many of them are stored; the marker does not count.
        replaced_characters: ``(N, 3)`` int32, characters that could not be kept, such as lone surrogates.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = dict(manifest)
        self.template = RenderedTemplate.from_dict(manifest["rendered_template"])
        self._tokens: NDArray[np.integer] = _map_tokens(path, manifest)
        self._offsets: NDArray[np.int64] = _map_array(path, "offsets")
        self._keys: NDArray[np.bytes_] = _map_array(path, "pair_ids")
        self.original_tokens: NDArray[np.int32] = _map_array(path, "original_tokens")
        self.kept_tokens: NDArray[np.int32] = _map_array(path, "kept_tokens")
        self.replaced_characters: NDArray[np.int32] = _map_array(path, "replaced_characters")
        if len(self._keys) != manifest["num_pairs"] or self._offsets[-1] != manifest["num_tokens"]:
            raise TokenStoreError(f"token store {path}: files and {MANIFEST} disagree; delete it and build it again")

    @classmethod
    def open(cls, path: str | Path) -> "TokenStore":
        """Open a store and verify that it is complete.

        Raises:
            TokenStoreError: There is no store, it is half written, of another format, or a file has another size than
                its manifest says.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        if manifest.get("format") != TOKENS_FORMAT:
            raise TokenStoreError(
                f"token store {path} has format {manifest.get('format')!r}, this version reads {TOKENS_FORMAT}; "
                "delete it and build it again"
            )
        for name, size in manifest["files"].items():
            found = (path / name).stat().st_size if (path / name).is_file() else None
            if found != size:
                raise TokenStoreError(
                    f"token store {path}: {name} has {found} bytes instead of {size}; delete it and build it again"
                )
        return cls(path, manifest)

    def __len__(self) -> int:
        return len(self._keys)

    @cached_property
    def pair_ids(self) -> NDArray[np.str_]:
        """``(N,)`` strings, sorted. Copied into memory; :meth:`rows` does without."""
        return np.char.decode(self._keys, "utf-8")

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each whole sequence, ``(N,)``, the same in both orders."""
        fields = self._offsets[NUM_FIELDS::NUM_FIELDS] - self._offsets[:-NUM_FIELDS:NUM_FIELDS]
        return (fields + self.template.num_constant_tokens).astype(np.int32)

    @cached_property
    def truncated(self) -> NDArray[np.bool_]:
        """Whether anything of a battle's texts was cut out, ``(N,)``."""
        return np.any(self.kept_tokens < self.original_tokens, axis=1)

    @property
    def max_sequence_tokens(self) -> int:
        """The longest sequence that this template and policy allow, whatever the texts."""
        return int(self.manifest["max_sequence_tokens"])

    def rows(self, pair_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of pairs by key.

        Raises:
            TokenStoreError: Some keys are not in the store; the message names the first of them.
        """
        wanted = encode_pair_ids(pair_ids)
        rows = np.searchsorted(self._keys, wanted)
        found = np.zeros(len(wanted), dtype=np.bool_)
        inside = rows < len(self._keys)
        found[inside] = self._keys[rows[inside]] == wanted[inside]
        if not found.all():
            missing = [key.decode() for key in wanted[~found][:5]]
            raise TokenStoreError(
                f"token store {self.path} (table {self.manifest['table']!r}) lacks {int((~found).sum())} of "
                f"{len(wanted)} pairs, among them {', '.join(missing)}; it was built from another table"
            )
        return rows.astype(np.int64)

    def fields(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Stored ids of prompt, response A and response B, each int32."""
        edges = self._offsets[NUM_FIELDS * row : NUM_FIELDS * row + NUM_FIELDS + 1]
        texts = self._tokens[edges[0] : edges[-1]].astype(np.int32)
        prompt, response_a, response_b = np.split(texts, edges[1:-1] - edges[0])
        return prompt, response_a, response_b

    def sequence(self, row: int, order: str) -> NDArray[np.int32]:
        """The whole sequence of a battle, ``(lengths[row],)`` int32.

        Args:
            row: As :meth:`rows` gives it.
            order: ``ab`` shows the responses as they stand in the table, ``ba`` exchanged.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a token store with {len(self)} rows")
        return assemble_sequence(self.template, *self.fields(row), order)


def hash_identity(identity: Mapping[str, Any]) -> str:
    """16 hex digits that name a store's contents."""
    return blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()


def _describe_template(template: TemplateConfig) -> dict[str, Any]:
    """The wording; the usual answers, which nothing but a verbalizer head looks at, are not mentioned."""
    return template.model_dump(mode="json", exclude={"answers"} if template.answers == _USUAL_ANSWERS else None)


def _describe_truncation(truncation: TruncationConfig, policy: TruncationPolicy) -> dict[str, Any]:
    """The policy's own numbers: those of the other one do not make another store."""
    return {
        "policy": policy,
        "max_battle_tokens": truncation.max_battle_tokens,
        "marker": truncation.marker,
        **getattr(truncation, policy).model_dump(),
    }


def _require_undamaged(store: "TokenStore") -> None:
    """Compare a store that was made before with what was written; a training would learn from whatever is there now."""
    for name, written in store.manifest["sha256"].items():
        if sha256_of(store.path / name) != written:
            raise TokenStoreError(f"token store {store.path}: {name} is damaged; delete the store and build it again")


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise TokenStoreError(f"there is no token store at {path}")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except FileNotFoundError:
        raise TokenStoreError(
            f"{path} has no {MANIFEST}: it is half written or no token store; delete it and build it again"
        ) from None
    except json.JSONDecodeError as error:
        raise TokenStoreError(f"{path / MANIFEST} is damaged ({error}); delete the store and build it again") from None
    if not isinstance(manifest, dict) or manifest.get("kind") != "token_store":
        raise TokenStoreError(f"{path / MANIFEST} does not describe a token store")
    return manifest


def _map_tokens(path: Path, manifest: Mapping[str, Any]) -> NDArray[np.integer]:
    if manifest["num_tokens"] == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=manifest["dtype"])
    return np.memmap(path / "tokens.bin", dtype=manifest["dtype"], mode="r")


def _map_array(path: Path, name: str) -> NDArray[Any]:
    return np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def _log_summary(store: TokenStore) -> None:
    counts = store.manifest
    logger.info(
        "tokens of %s: %d pairs, %d tokens, %d pairs truncated, longest sequence %d of at most %d tokens (%s)",
        counts["table"],
        counts["num_pairs"],
        counts["num_tokens"],
        counts["num_truncated"],
        counts["longest_sequence"],
        counts["max_sequence_tokens"],
        os.fspath(store.path),
    )
