"""Backbones: transformers' decoders, unmodified, made so that they read packed sequences."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from wsdm_arena.modeling.attention import IMPLEMENTATION, UnsupportedJudgeError

DTYPES: Mapping[str, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
LANGUAGE_MODEL_HEAD = "lm_head."
"""Weights that a causal language model has besides the backbone; a judge reads them only to make a verbalizer head."""


def load_config(source: str | Path, *, sliding_window: bool, revision: str | None = None) -> PreTrainedConfig:
    """Read a backbone's configuration and prepare it for packed reading, see :func:`prepare_config`.

    Raises:
        UnsupportedJudgeError: There is none, or the hub that should have it cannot be reached.
    """
    try:
        config = AutoConfig.from_pretrained(str(source), revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UnsupportedJudgeError(f"{source}: the model's configuration cannot be loaded: {error}") from error
    prepare_config(config, sliding_window=sliding_window)
    return config


def prepare_config(config: PreTrainedConfig, *, sliding_window: bool) -> None:
    """Switch off, in place, what packed reading must not have: the cache and, if asked, sliding windows.

    The result means the same to transformers itself, so that a saved backbone reads alike everywhere.
    """
    config.use_cache = False
    if sliding_window or getattr(config, "sliding_window", None) is None:
        return
    layer_types = getattr(config, "layer_types", None)
    if layer_types is None:
        config.sliding_window = None
    elif "sliding_attention" in (getattr(config, "rope_parameters", None) or {}):
        # These layers also have rotary frequencies of their own: they keep their name and get a window of everything.
        config.sliding_window = config.max_position_embeddings
    else:
        config.layer_types = ["full_attention"] * len(layer_types)


def load_backbone(
    source: str | Path,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype,
    revision: str | None = None,
    old_head: Sequence[str] = (),
) -> PreTrainedModel:
    """Load weights from safetensors only; every one of the backbone and no other.

    Raises:
        UnsupportedJudgeError: Weights are missing, unexpected, or not in safetensors.
    """
    try:
        with without_noise():
            model, info = AutoModel.from_pretrained(
                str(source),
                config=config,
                revision=revision,
                dtype=dtype,
                attn_implementation=IMPLEMENTATION,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except OSError as error:
        raise UnsupportedJudgeError(f"{source}: no weights in safetensors format can be read: {error}") from error
    ignored = (LANGUAGE_MODEL_HEAD, *old_head)
    unexpected = sorted(key for key in info["unexpected_keys"] if not key.startswith(ignored))
    missing = sorted(info["missing_keys"])
    if missing or unexpected:
        raise UnsupportedJudgeError(
            f"{source} does not hold exactly the weights of {config.model_type}: missing {_listed(missing)}; "
            f"unexpected {_listed(unexpected)}; name an old head to leave it behind on purpose"
        )
    return model


def as_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Turn a configuration's dtype name into torch's."""
    return DTYPES[dtype] if isinstance(dtype, str) else dtype


@contextmanager
def without_noise() -> Iterator[None]:
    """Keep transformers from drawing bars, and from reporting weights that are left behind on purpose.

    Every rank would draw its own over the training's; and what does not fit is checked, and said, by us.
    """
    shown, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


def new_backbone(config: PreTrainedConfig, *, sliding_window: bool, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """Make a backbone with random weights; neither ``config`` nor torch's global generator is changed."""
    config = type(config).from_dict(config.to_dict())
    prepare_config(config, sliding_window=sliding_window)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModel.from_config(config, dtype=dtype, attn_implementation=IMPLEMENTATION)


def check_backbone(backbone: PreTrainedModel) -> None:
    """Make sure that a backbone can read packed sequences.

    Raises:
        UnsupportedJudgeError: It cannot; the message says why.
    """
    config: Any = backbone.config
    name = config.model_type
    if not getattr(backbone, "_supports_attention_backend", False) or not hasattr(backbone, "layers"):
        raise UnsupportedJudgeError(
            f"{name} does not let its attention be chosen; use a text-only decoder such as Gemma-2"
        )
    if config._attn_implementation != IMPLEMENTATION:
        raise UnsupportedJudgeError(f"the backbone was made with attention {config._attn_implementation!r}, not ours")
    if getattr(config, "attention_dropout", 0.0):
        raise UnsupportedJudgeError(
            f"{name} has attention_dropout={config.attention_dropout}; packed attention has none: set 0"
        )
    if getattr(config, "use_bidirectional_attention", False):
        raise UnsupportedJudgeError(
            f"{name} reads in both directions; a judge reads its last token, so it must be causal"
        )


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:5]) or "none"
    return shown if len(keys) <= 5 else f"{shown} and {len(keys) - 5} more"
