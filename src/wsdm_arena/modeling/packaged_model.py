"""Language models that come as Python packages: dequantised once, into what transformers and vLLM read.

Layout of an unpacked model::

    config.json, model.safetensors           a causal language model in float32
    tokenizer.json, chat_template.jinja, ...
    generation_config.json                   ends an answer at the end of a turn, too
    manifest.json                            written last
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)

from wsdm_arena.config import PackagedModelConfig
from wsdm_arena.modeling.backbone import without_noise
from wsdm_arena.modeling.manifest import ManifestError, read_manifest, write_manifest
from wsdm_arena.modeling.packaged_files import KIND, PackagedModelError, find_packaged_files, join_files
from wsdm_arena.modeling.packaged_tokenizer import PROBE, find_end_of_turn, read_packaged_tokenizer
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.directories import replacing_directory
from wsdm_arena.runs.files import find_damage
from wsdm_arena.runs.formats import PACKAGED_MODEL_FORMAT
from wsdm_arena.runs.work import record_work

__all__ = ["PackagedModelError", "read_packaged_manifest", "unpack_model"]

logger = logging.getLogger(__name__)

MAX_LOGIT_DIFFERENCE = 1e-4
"""What loading again may change; the weights are stored as they were read, so it should be nothing."""
LOCK_WAIT_S = 1800.0
"""Longer than another process needs: then its result is reused."""

_STEPS = 6
_WHAT_COUNTS = frozenset({"model_type", "sha256", "chat_template", "end_of_turn"})
"""What a directory must have been made of to be reused; where the file came from and what it is called do not count."""


def unpack_model(
    package: PackagedModelConfig, directory: Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Dequantise a packaged model into a directory, or find that it was done before.

    The parts are joined and their checksum compared, transformers reads them into float32, and what was written is
    loaded again and must give the same logits. Nothing half done is left behind.

    Args:
        package: Which.
        directory: Where; one model a directory.
        progress: Told how many of how many steps are done: joining, reading configuration, tokenizer and weights,
            writing, comparing.

    Returns:
        ``directory``.

    Raises:
        PackagedModelError: Packages are missing, files are others than configured, the model is of another
            architecture, lacks a chat template or a token, or does not survive the way; says which, and what helps.
    """
    if _is_reusable(directory, package):
        record_work("packaged model", directory.name, "reused", directory)
        return directory
    find_packaged_files(package)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with lock_directory(directory.parent, LOCK_WAIT_S):
        if not _is_reusable(directory, package):  # another process may have made it meanwhile
            logger.info("%s: dequantising it into %s", package.title, directory)
            with replacing_directory(directory) as unfinished:
                _unpack(package, unfinished, progress or (lambda done, total: None))
    record_work("packaged model", directory.name, "made", directory)
    return directory


def read_packaged_manifest(directory: Path) -> dict[str, Any]:
    """Read what an unpacked model says of itself.

    Returns:
        ``kind``, ``format``, ``title``, ``model_type``, ``distributions``, ``sha256`` (of the GGUF file),
        ``chat_template`` and ``end_of_turn`` (null: the file's own), ``licence``, ``max_logit_difference``, ``files``.

    Raises:
        PackagedModelError: It is half written, damaged, or something else.
    """
    try:
        return read_manifest(
            directory, formats={KIND: PACKAGED_MODEL_FORMAT}, what="unpacked model", cure="unpack it again"
        )
    except ManifestError as error:
        raise PackagedModelError(str(error)) from error


def _is_reusable(directory: Path, package: PackagedModelConfig) -> bool:
    if not directory.exists():
        return False
    try:
        manifest = read_packaged_manifest(directory)
        damage = find_damage(directory, manifest["files"])
    except PackagedModelError as error:
        damage = str(error)
    else:
        wanted = package.model_dump(mode="json", include=set(_WHAT_COUNTS))
        others = sorted(name for name, value in wanted.items() if name not in manifest or manifest[name] != value)
        damage = damage or (f"{directory} was made with another {' and '.join(others)}" if others else None)
    if damage is not None:
        logger.warning("%s: %s; unpacking it again", package.title, damage)
    return damage is None


def _unpack(package: PackagedModelConfig, target: Path, progress: Callable[[int, int], None]) -> None:
    with tempfile.TemporaryDirectory(dir=target) as folder:  # within, so that not even a kill leaves it behind
        file = Path(folder) / "model.gguf"
        join_files(package, file)
        progress(1, _STEPS)
        model, tokenizer = _read(package, file, progress)
    with without_noise():
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    progress(5, _STEPS)
    difference = _compare(model, tokenizer, target)
    if not difference <= MAX_LOGIT_DIFFERENCE:  # nor is it where a logit is not a number
        raise PackagedModelError(
            f"{package.title}: what was written gives other logits than the GGUF file, by up to {difference:.3g}; "
            "report this with the versions of transformers and gguf"
        )
    described = package.model_dump(mode="json", include={"title", "distributions", "licence", *_WHAT_COUNTS})
    write_manifest(
        target,
        {"kind": KIND, "format": PACKAGED_MODEL_FORMAT, **described, "max_logit_difference": difference},
    )
    progress(_STEPS, _STEPS)


def _read(
    package: PackagedModelConfig, file: Path, progress: Callable[[int, int], None]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a GGUF file with transformers; what takes long, the weights, comes after all that may be refused."""
    with _without_noise():
        config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
        if config.model_type != package.model_type:
            raise PackagedModelError(
                f"{package.title}: the file holds a {config.model_type}, but packaged_models says "
                f"{package.model_type}; correct model_type there"
            )
        progress(2, _STEPS)
        tokenizer = read_packaged_tokenizer(package, file)
        end_of_turn = find_end_of_turn(package, tokenizer)
        # A GGUF file states no limit; transformers takes an absurdly large one, which vLLM would believe.
        tokenizer.model_max_length = config.max_position_embeddings
        progress(3, _STEPS)
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            config=config,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    ends = model.generation_config.eos_token_id
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]
    model.generation_config.eos_token_id = [each for each in dict.fromkeys([*ends, end_of_turn]) if each is not None]
    progress(4, _STEPS)
    return model, tokenizer


def _compare(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> float:
    """Largest difference between the logits of the model as read and as loaded from what was written."""
    with without_noise():
        again = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, use_safetensors=True)
        tokenizer_again = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer.encode(PROBE)
    if tokenizer_again.encode(PROBE) != ids:
        raise PackagedModelError(f"{directory}: the tokenizer as written reads a text otherwise than before")
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        return float((model.eval()(tokens).logits - again.eval()(tokens).logits).abs().max())


@contextmanager
def _without_noise() -> Iterator[None]:
    """No bars but ours: transformers' switch does not reach the one of its reader of GGUF files."""
    bar = getattr(modeling_gguf_pytorch_utils, "tqdm", None)
    if bar is not None:
        modeling_gguf_pytorch_utils.tqdm = lambda tensors, **options: tensors
    try:
        with without_noise():
            yield
    finally:
        if bar is not None:
            modeling_gguf_pytorch_utils.tqdm = bar
