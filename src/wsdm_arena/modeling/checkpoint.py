"""A judge on disk: a backbone that transformers reads, our head, and a manifest that vouches for both.

Layout of a checkpoint directory::

    config.json, model.safetensors     backbone (several model-*.safetensors and an index where it is large)
    tokenizer.json, ...                copied as they were
    head.safetensors                   "dense.weight", "dense.bias", "output.weight", "output.bias"
    manifest.json                      written last; names every file with its size and SHA-256

In a bundle whose judge is one of transformers' sequence classifiers the head is ``score.weight`` among the backbone's
weights, see :mod:`~wsdm_arena.modeling.sequence_classifier`; there is no ``head.safetensors`` then.

It is written under another name and renamed when it is complete.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedConfig

from wsdm_arena.config import HeadConfig
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.errors import UserError
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.backbone import as_dtype, load_backbone, load_config
from wsdm_arena.modeling.backbone_weights import plain_config, plain_names, require_castable
from wsdm_arena.modeling.head import Head
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.modeling.manifest import ManifestError, write_manifest
from wsdm_arena.modeling.manifest import read_manifest as read_any_manifest
from wsdm_arena.modeling.sequence_classifier import SCORE, read_score
from wsdm_arena.modeling.weight_files import (
    LazyState,
    WeightFileError,
    find_weight_files,
    open_weights,
    save_tensors,
    without_values,
    write_weights,
)
from wsdm_arena.runs.directories import replacing_directory
from wsdm_arena.runs.files import MANIFEST, find_damage
from wsdm_arena.runs.formats import BUNDLE_FORMAT

FORMAT = 1
"""Raised when the layout or the meaning of a field changes."""
KIND = "wsdm_arena judge"
BUNDLE_KIND = "wsdm_arena bundle"
"""A judge with all that is needed to use it; one that has the plain layout can be read as a checkpoint, too."""
HEAD = "head.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
MAX_SHARD_SIZE = "4GB"
_FIELDS = ("model_type", "dtype", "head", "num_classes", "sliding_window")
CHECKSUM_LIMIT_BYTES = 2 << 30
"""By default checksums are verified up to this size (a few seconds), beyond it only sizes."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint directory is incomplete, damaged or of another kind."""


def save_judge(
    judge: JudgeModel,
    directory: Path,
    *,
    tokenizer_dir: Path | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write a judge whose weights are whole in this process; see :func:`save_judge_state`."""
    return save_judge_state(
        directory,
        state=judge.state_dict(),
        config=judge.config,
        head=judge.head.config,
        num_classes=judge.head.num_classes,
        sliding_window=judge.sliding_window,
        tokenizer_dir=tokenizer_dir,
        manifest=manifest,
    )


def save_judge_state(
    directory: Path,
    *,
    state: Mapping[str, torch.Tensor],
    config: PreTrainedConfig,
    head: HeadConfig,
    num_classes: int,
    sliding_window: bool,
    tokenizer_dir: Path | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write a judge from a full state dict, such as the one gathered from sharded weights on rank 0.

    Args:
        directory: Replaced as a whole if it exists.
        state: Weights named ``backbone.*`` and ``head.*``, no DTensors.
        config: Of the backbone.
        head: Kind and dropout of the head.
        num_classes: Logits per segment.
        sliding_window: As the judge was trained.
        tokenizer_dir: Where the tokenizer's files lie; they are copied.
        manifest: What else the checkpoint says of itself: fingerprint, stage, judge, template hash, environment.

    Returns:
        ``directory``.

    Raises:
        CheckpointError: A weight belongs to neither backbone nor head, or a manifest field is one of ours.
    """
    backbone, classifier = _split(state)
    with replacing_directory(directory) as partial:
        _write_backbone(partial, backbone, config)
        save_tensors(classifier, partial / HEAD)
        copy_tokenizer(tokenizer_dir, partial)
        own = {
            "format": FORMAT,
            "kind": KIND,
            "model_type": config.model_type,
            "dtype": str(next(iter(backbone.values())).dtype).removeprefix("torch."),
            "head": head.model_dump(),
            "num_classes": num_classes,
            "sliding_window": sliding_window,
        }
        _write_manifest(partial, own, manifest or {})
    return directory


def load_judge(
    directory: Path,
    *,
    attention: AttentionName = "auto",
    dtype: str | torch.dtype | None = None,
    model_type: str | None = None,
    verify_checksums: bool | None = None,
) -> JudgeModel:
    """Load a judge, after making sure that its checkpoint is whole.

    Args:
        directory: As :func:`save_judge` wrote it.
        attention: Which kernel attends.
        dtype: Of the weights in memory; as stored by default.
        model_type: Architecture that the caller expects, such as ``"gemma2"``; any by default.
        verify_checksums: Read every file once more and compare; by default if the checkpoint is small.

    Raises:
        CheckpointError: The directory is half written, damaged, of another format or architecture, or a weight is
            missing, too many, or too large for ``dtype``.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if model_type is not None and manifest["model_type"] != model_type:
        raise CheckpointError(f"{directory} holds a {manifest['model_type']} judge, not {model_type}")
    verify_files(directory, manifest, checksums=verify_checksums)
    try:
        config = load_config(directory, sliding_window=manifest["sliding_window"])
        old_head = () if HEAD in manifest["files"] else (SCORE,)
        backbone = load_backbone(directory, config, dtype=as_dtype(dtype or manifest["dtype"]), old_head=old_head)
    except UnsupportedJudgeError as error:
        raise CheckpointError(str(error)) from error
    head = Head(HeadConfig(**manifest["head"]), config.hidden_size, manifest["num_classes"], seed=0)
    try:
        weights = read_head(directory, manifest)
        head.load_state_dict(weights, strict=True)
        head.to(backbone.dtype)
        if as_dtype(manifest["dtype"]) != backbone.dtype == torch.float16:
            require_castable(head.state_dict(), weights)
            stored = open_weights(find_weight_files(directory))
            names = plain_names(stored, config, backbone.state_dict())
            require_castable(backbone.state_dict(), LazyState.renamed(stored, names))
    except (RuntimeError, WeightFileError) as error:
        raise CheckpointError(f"{directory}: {error}") from error
    return JudgeModel(backbone, head, attention=attention, sliding_window=manifest["sliding_window"])


def read_head(directory: Path, manifest: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Read a head's weights under our own names, wherever the layout keeps them.

    Args:
        directory: A checkpoint, or a bundle with the plain layout.
        manifest: Its own.

    Raises:
        WeightFileError: The weights cannot be read.
    """
    return load_file(directory / HEAD) if HEAD in manifest["files"] else read_score(directory)


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself.

    Raises:
        CheckpointError: There is none, or it is damaged, or of another kind or format.
    """
    formats = {KIND: FORMAT, BUNDLE_KIND: BUNDLE_FORMAT}
    try:
        manifest = read_any_manifest(
            directory, formats=formats, what="judge checkpoint", cure="train again or name another directory"
        )
    except ManifestError as error:
        raise CheckpointError(str(error)) from error
    check_fields(directory, manifest)
    if manifest["kind"] == BUNDLE_KIND and "plain" not in manifest["layouts"]:
        raise CheckpointError(
            f"{directory} is a bundle without the plain layout: open it with wsdm_arena.judging.bundle.Bundle, or "
            "export it again with export.layouts: [plain, fused]"
        )
    return manifest


def check_fields(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Make sure that a judge's or a bundle's manifest says all that is needed to load the judge.

    Raises:
        CheckpointError: It does not; the message names what is missing.
    """
    missing = [field for field in _FIELDS if field not in manifest]
    if manifest["kind"] == BUNDLE_KIND:
        layouts = manifest.get("layouts")
        if not isinstance(layouts, list) or not layouts or not set(layouts) <= {"plain", "fused"}:
            missing.append("layouts")
    if missing:
        raise CheckpointError(f"{directory / MANIFEST} is damaged: it does not say {', '.join(missing)}")


def verify_files(directory: Path, manifest: Mapping[str, Any], *, checksums: bool | None = None) -> None:
    """Compare a checkpoint's files with its manifest.

    Raises:
        CheckpointError: A file is missing, or its size or checksum differs; the message names the file.
    """
    files = manifest["files"]
    if checksums is None:
        checksums = sum(file["size"] for file in files.values()) <= CHECKSUM_LIMIT_BYTES
    if damage := find_damage(Path(directory), files, max_hashed_bytes=None if checksums else 0):
        raise CheckpointError(f"{damage}; copy {directory} again, or make it again")


def _split(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {"backbone": {}, "head": {}}
    for key, value in state.items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise CheckpointError(f"weight {key!r} belongs to neither backbone nor head")
        parts[part][name] = value.detach().cpu().contiguous()
    return parts["backbone"], parts["head"]


def copy_tokenizer(source: Path | None, target: Path) -> None:
    """Copy a tokenizer's files, those that there are, from one directory to another."""
    for name in TOKENIZER_FILES:
        if source is not None and (Path(source) / name).is_file():
            shutil.copyfile(Path(source) / name, target / name)


def _write_backbone(directory: Path, weights: dict[str, torch.Tensor], config: PreTrainedConfig) -> None:
    plain_config(config, dtype=next(iter(weights.values())).dtype).save_pretrained(str(directory))
    write_weights(directory, weights, like=without_values(weights), max_shard_size=MAX_SHARD_SIZE)


def _write_manifest(directory: Path, own: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    clash = sorted({*own, "files"} & set(others))
    if clash:
        raise CheckpointError(f"manifest fields {clash} are the checkpoint's own; leave them out")
    write_manifest(directory, {**own, **others})
