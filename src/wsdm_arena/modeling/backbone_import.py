"""Bring any pretrained checkpoint into the one form that trainings start from.

Layout of an imported backbone, ``<root>/<fingerprint>/``::

    config.json, model.safetensors     what transformers reads (shards and an index where it is large)
    tokenizer.json, ...                copied as they were
    manifest.json                      written last; names every file with its size and SHA-256, and the source's files
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from wsdm_arena.config import BackboneConfig
from wsdm_arena.modeling.backbone import LANGUAGE_MODEL_HEAD
from wsdm_arena.modeling.backbone_source import (
    CONFIG,
    KIND,
    BackboneError,
    BackboneSource,
    find_source,
    known_files,
)
from wsdm_arena.modeling.backbone_weights import (
    LayoutError,
    SortedKeys,
    check_weights,
    plain_config,
    plain_names,
    plain_shapes,
    read_config,
    sort_keys,
)
from wsdm_arena.modeling.checkpoint import MAX_SHARD_SIZE
from wsdm_arena.modeling.inference_layout import fused_shapes, split_projections
from wsdm_arena.modeling.manifest import ManifestError, read_manifest, write_manifest
from wsdm_arena.modeling.weight_files import (
    INDEX_SUFFIX,
    SAFETENSORS,
    LazyState,
    WeightFileError,
    open_weights,
    without_values,
    write_weights,
)
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.directories import replacing_directory
from wsdm_arena.runs.files import MANIFEST, find_damage, link_or_copy
from wsdm_arena.runs.fingerprint import fingerprint
from wsdm_arena.runs.formats import BACKBONE_FORMAT
from wsdm_arena.runs.work import record_work

__all__ = ["BackboneError", "import_backbone", "read_backbone_manifest"]

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 3600.0
"""Longer than another process needs for the largest backbone: then its result is reused."""

Progress = Callable[[int, int], None]
"""Told how many of how many tensors are written."""


@dataclass(frozen=True)
class _Weights:
    """What a source holds, accounted for.

    Attributes:
        config: As it stands beside the weights.
        state: Under the backbone's own names, in the stored type; with them the output layer of a language model, if
            it would be lost otherwise.
        keys: What becomes of each stored weight.
        are_as_wanted: Whether the files are what would be written.
    """

    config: PreTrainedConfig
    state: LazyState
    keys: SortedKeys
    are_as_wanted: bool


def import_backbone(
    source: str | Path, *, backbone: BackboneConfig, root: Path, progress: Progress | None = None
) -> Path:
    """Make a source a plain backbone directory below ``root``, or find that it has been made.

    Weights keep the type they are stored in. Files in the plain layout are taken as they are: those of the hub's cache
    and of directories that we wrote are hard-linked where the file system can, those that somebody may write to are
    copied. Weights are written anew if an old head is left behind or if they are pickles; a language model's output
    layer, which a verbalizer head starts from, is written with them unless it is the embeddings. One import at a time
    works below ``root``.

    Args:
        source: A directory, or ``owner/repository`` of the hub.
        backbone: Its layout, revision and old head; ``backbone.source`` is not read.
        root: Folder of all imported backbones.
        progress: Called after each tensor that is written.

    Returns:
        ``root/<fingerprint>``; the fingerprint covers the contents of the source's files, layout and old head.

    Raises:
        BackboneError: The source is missing, incomplete or damaged, or its weights are not those of its configuration
            in this layout; the message says what helps.
    """
    try:
        found = find_source(source, revision=backbone.revision)
        files = found.describe(known_files(sorted(root.glob(f"*/{MANIFEST}"))))
        directory = root / _fingerprint(backbone, files)
        if _is_reusable(directory, source):
            record_work("backbone", directory.name, "reused", directory)
            return directory
        root.mkdir(parents=True, exist_ok=True)
        with lock_directory(root, LOCK_WAIT_S):
            if not _is_reusable(directory, source):  # another process may have made it meanwhile
                logger.info("backbone %s: importing it into %s", source, directory)
                with replacing_directory(directory) as unfinished:
                    _import(found, backbone, files, unfinished, source=str(source), progress=progress)
    except (LayoutError, WeightFileError) as error:
        raise BackboneError(str(error)) from error
    record_work("backbone", directory.name, "made", directory)
    return directory


def read_backbone_manifest(directory: Path) -> dict[str, Any]:
    """Read what an imported backbone says of itself.

    Returns:
        ``kind``, ``format``, ``model_type``, ``source``, ``revision``, ``layout``, ``dtype``, ``old_head`` (weights
        that were left behind on purpose), ``ignored`` (weights that are no backbone's), ``files``, ``source_files``.

    Raises:
        BackboneError: It is half written, damaged, or something else.
    """
    try:
        return read_manifest(
            directory, formats={KIND: BACKBONE_FORMAT}, what="imported backbone", cure="import it again"
        )
    except ManifestError as error:
        raise BackboneError(str(error)) from error


def _fingerprint(backbone: BackboneConfig, files: Mapping[str, Mapping[str, Any]]) -> str:
    return fingerprint(
        {
            "format": BACKBONE_FORMAT,
            "layout": backbone.layout,
            "old_head": sorted(backbone.old_head),
            "files": {name: file["sha256"] for name, file in files.items()},
        }
    )


def _is_reusable(directory: Path, source: str | Path) -> bool:
    if not directory.exists():
        return False
    try:
        damage = find_damage(directory, read_backbone_manifest(directory)["files"])
    except BackboneError as error:
        damage = str(error)
    if damage is not None:
        logger.warning("backbone %s: %s; importing it again", source, damage)
        return False
    logger.info("backbone %s: reusing %s", source, directory)
    return True


def _import(
    found: BackboneSource,
    backbone: BackboneConfig,
    files: Mapping[str, Mapping[str, Any]],
    target: Path,
    *,
    source: str,
    progress: Progress | None,
) -> None:
    weights = _open_fused(found, backbone) if backbone.layout == "fused" else _open_plain(found, backbone)
    values = without_values(weights.state)
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in values.values()})
    taken = _take(found, target, found.find_immutable(files)) if weights.are_as_wanted else ()
    state = _watched(weights.state, found.directory, progress)
    for key in state if taken else ():
        state[key]
    if not taken:
        write_weights(target, state, like=values, max_shard_size=MAX_SHARD_SIZE)
        plain_config(weights.config, dtype=next(iter(values.values())).dtype).save_pretrained(str(target))
    for path in found.tokenizer:
        shutil.copyfile(path, target / path.name)
    found.require_unchanged(files)
    fields = {
        "kind": KIND,
        "format": BACKBONE_FORMAT,
        "model_type": weights.config.model_type,
        "source": source,
        "revision": found.revision,
        "layout": backbone.layout,
        "dtype": ", ".join(dtypes),
        "old_head": list(weights.keys.old_head),
        "ignored": [key for key in weights.keys.ignored if key not in weights.state],
        "source_files": files,
    }
    write_manifest(
        target, fields, described={to: {key: files[name][key] for key in ("size", "sha256")} for to, name in taken}
    )


def _open_fused(found: BackboneSource, backbone: BackboneConfig) -> _Weights:
    config = read_config(found.directory)
    stored = open_weights(found.weights)
    keys = sort_keys(stored, old_head=backbone.old_head)
    fused = LazyState.renamed(stored, {key: key for key in keys.backbone})
    _check(fused, fused_shapes(config), backbone, place=f"{found.directory}, read as a fused {config.model_type}")
    split = split_projections(fused)
    readers = {key: partial(split.__getitem__, key) for key in split}
    readers |= {key: partial(stored.__getitem__, key) for key in _kept_output_layer(keys, config)}
    return _Weights(config, LazyState(readers), keys, are_as_wanted=False)


def _open_plain(found: BackboneSource, backbone: BackboneConfig) -> _Weights:
    config = read_config(found.directory)
    stored, expected = open_weights(found.weights), plain_shapes(config)
    keys = sort_keys(stored, old_head=backbone.old_head)
    names = plain_names(keys.backbone, config, expected)
    state = LazyState.renamed(stored, names)
    _check(state, expected, backbone, place=f"{found.directory}, read as a plain {config.model_type}")
    are_safetensors = all(path.suffix == SAFETENSORS for path in _tensor_files(found))
    if are_safetensors and not keys.old_head:
        return _Weights(config, state, keys, are_as_wanted=True)
    names |= {key: key for key in _kept_output_layer(keys, config)}
    return _Weights(config, LazyState.renamed(stored, names), keys, are_as_wanted=False)


def _kept_output_layer(keys: SortedKeys, config: PreTrainedConfig) -> tuple[str, ...]:
    """What a head of kind ``verbalizer`` would miss if weights were written without it."""
    is_tied = getattr(config, "tie_word_embeddings", False)
    return () if is_tied else tuple(key for key in keys.ignored if key.startswith(LANGUAGE_MODEL_HEAD))


def _check(state: LazyState, expected: Mapping[str, tuple[int, ...]], backbone: BackboneConfig, *, place: str) -> None:
    """Account for every weight, and say what a user has probably forgotten."""
    try:
        check_weights(state, expected, place=place)
    except LayoutError as error:
        hint = ""
        is_fused = any(".gate_up_proj." in key for key in state)
        if is_fused != (backbone.layout == "fused"):
            other = "fused" if is_fused else "plain"
            hint = f"; it seems to be in the other layout: set judges.<judge>.backbone.layout to {other}"
        elif set(state) - set(expected):
            hint = "; name an old head's prefix in judges.<judge>.backbone.old_head to leave it behind on purpose"
        raise LayoutError(f"{error}{hint}") from None


def _tensor_files(found: BackboneSource) -> list[Path]:
    return [path for path in found.weights if not path.name.endswith(INDEX_SUFFIX)]


def _take(found: BackboneSource, target: Path, immutable: frozenset[str]) -> list[tuple[str, str]]:
    """Link or copy the weights, and write what says how they are read; pairs of new and old names of the weights."""
    shutil.copyfile(found.directory / CONFIG, target / CONFIG)
    config = json.loads((target / CONFIG).read_text())
    if config.pop("auto_map", None) is not None:  # names code that is not taken along
        (target / CONFIG).write_text(json.dumps(config, indent=2))
    taken = []
    is_sharded = len(_tensor_files(found)) < len(found.weights)
    for path in found.weights:
        if path.name.endswith(INDEX_SUFFIX):
            index = {"metadata": {}} | json.loads(path.read_text())  # transformers wants the key to be there
            (target / f"model{SAFETENSORS}{INDEX_SUFFIX}").write_text(json.dumps(index))
            continue
        name = path.name if is_sharded else f"model{SAFETENSORS}"
        (link_or_copy if path.name in immutable else shutil.copyfile)(path, target / name)
        taken.append((name, path.name))
    return taken


def _watched(state: LazyState, place: Path, progress: Progress | None) -> LazyState:
    """Count the tensors that are read, and refuse those that no training could start from."""
    numbers = count(1)

    def read(key: str) -> torch.Tensor:
        tensor = state[key]
        if not torch.isfinite(tensor).all():
            raise BackboneError(f"{place}: weight {key!r} holds numbers that are not finite; the file is damaged")
        if progress is not None:
            progress(next(numbers), len(state))
        return tensor

    return LazyState({key: partial(read, key) for key in state})
