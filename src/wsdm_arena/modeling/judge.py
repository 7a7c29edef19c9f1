"""A judge: an unmodified transformers backbone that reads packed sequences, and a head on each last token.

Shapes: T tokens of the micro-batch, S segments, h hidden size.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.modeling.attention import (
    IMPLEMENTATION,
    KernelName,
    UnsupportedJudgeError,
    choose_attention,
    plan_attention,
)
from wsdm_arena.modeling.head import Head

DTYPES: Mapping[str, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
LANGUAGE_MODEL_HEAD = "lm_head."
"""Weights that a causal language model has besides the backbone; the judge does not read them."""
VOCABULARY_CHUNK = 1 << 25
"""Next-token logits that are held at once: 128 MiB in float32."""


class Judge(nn.Module):
    """Read packed battles, give logits.

    A key-value cache would make transformers treat the row as one sequence, so the judge has none and refuses a
    backbone whose configuration asks for one.

    Args:
        backbone: Made with our attention function.
        head: Classifier.
        attention: Which kernel attends; ``auto`` is resolved at the first batch, when the device is known.
        sliding_window: Whether the backbone's windows were left on by :func:`prepare_config`; only recorded here.

    Attributes:
        backbone: The transformers model; its decoder layers are ``backbone.layers``.
        head: The classifier.
        attention: As requested.
    """

    def __init__(
        self, backbone: PreTrainedModel, head: Head, *, attention: AttentionName = "auto", sliding_window: bool = True
    ) -> None:
        super().__init__()
        _check_backbone(backbone)
        self.backbone = backbone
        self.head = head
        self.attention: AttentionName = attention
        self.sliding_window = sliding_window
        self._kernels: dict[tuple[torch.device, torch.dtype], KernelName] = {}
        backbone.config.use_cache = False

    @property
    def config(self) -> PreTrainedConfig:
        """The backbone's configuration."""
        return self.backbone.config

    @property
    def decoder_layers(self) -> nn.ModuleList:
        """The layers to shard, recompute or compile one by one."""
        layers = self.backbone.layers
        assert isinstance(layers, nn.ModuleList)
        return layers

    @overload
    def forward(
        self,
        batch: PackedBatch,
        dropout_masks: Sequence[torch.Tensor] | None = None,
        *,
        language_modeling: Literal[False] = False,
    ) -> torch.Tensor: ...

    @overload
    def forward(
        self,
        batch: PackedBatch,
        dropout_masks: Sequence[torch.Tensor] | None = None,
        *,
        language_modeling: Literal[True],
    ) -> tuple[torch.Tensor, torch.Tensor]: ...

    def forward(
        self,
        batch: PackedBatch,
        dropout_masks: Sequence[torch.Tensor] | None = None,
        *,
        language_modeling: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Judge every segment.

        Args:
            batch: Packed sequences.
            dropout_masks: For each of ``head.dropout_widths`` a bool tensor ``(S, width)``, see
                :func:`~wsdm_arena.modeling.dropout.draw_keep_masks`. Needed in training mode if the head has dropout.
            language_modeling: Also give the next-token loss, see :meth:`next_token_loss`. It is computed here, and
                not by the caller, because sharded weights are whole only inside of ``forward``.

        Returns:
            Logits ``(S, num_classes)``, float32; with ``language_modeling`` also the summed next-token loss.
        """
        hidden = self.hidden_states(batch)
        logits = self.head(hidden.index_select(0, batch.cu_seqlens[1:].long() - 1), dropout_masks)
        return (logits, self.next_token_loss(batch, hidden)) if language_modeling else logits

    def hidden_states(self, batch: PackedBatch) -> torch.Tensor:
        """Read the sequences; the last layer's states after the final norm, ``(T, h)``.

        Raises:
            UnsupportedJudgeError: The backbone's configuration asks for a cache.
        """
        if self.config.use_cache:
            raise UnsupportedJudgeError(
                "backbone.config.use_cache is on: with a cache packed sequences would read one another; set it to False"
            )
        kernel = self.kernel(batch.input_ids.device)
        outputs = self.backbone(
            input_ids=batch.input_ids.unsqueeze(0),
            position_ids=batch.position_ids.unsqueeze(0),
            attention_mask=None,
            use_cache=False,
            attention_plan=plan_attention(kernel, batch, self.config),
        )
        return outputs.last_hidden_state.squeeze(0)

    def language_model_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Score the vocabulary with the input embeddings, ``(N, h) -> (N, vocabulary)``.

        A final soft-cap, which Gemma-2 has as a language model, is left out.
        """
        return linear(hidden, self._embeddings)

    def next_token_loss(self, batch: PackedBatch, hidden: torch.Tensor) -> torch.Tensor:
        """Sum the cross-entropy of each token given those before it in its segment.

        Args:
            batch: Packed sequences.
            hidden: Of :meth:`hidden_states`, ``(T, h)``.

        Returns:
            A scalar, float32: a sum over ``batch.num_tokens - batch.num_segments`` predictions.
        """
        inner = torch.ones(batch.num_tokens, dtype=torch.bool)
        inner[[end - 1 for _, end in pairwise(batch.boundaries)]] = False
        predicting = inner.nonzero().squeeze(1).to(hidden.device, non_blocking=True)
        chunks = predicting.split(max(1, VOCABULARY_CHUNK // self._embeddings.shape[0]))
        losses = [self._chunk_loss(batch, hidden, chunk, recompute=len(chunks) > 1) for chunk in chunks]
        return torch.stack(losses).sum() if losses else hidden.sum().float() * 0

    def kernel(self, device: torch.device) -> KernelName:
        """Which kernel attends on a device; chosen once."""
        dtype = self.backbone.dtype
        if (device, dtype) not in self._kernels:
            self._kernels[device, dtype] = choose_attention(self.config, device, dtype, self.attention)
        return self._kernels[device, dtype]

    @property
    def _embeddings(self) -> torch.Tensor:
        weight = self.backbone.get_input_embeddings().weight
        assert isinstance(weight, torch.Tensor)
        return weight

    def _chunk_loss(
        self, batch: PackedBatch, hidden: torch.Tensor, positions: torch.Tensor, *, recompute: bool
    ) -> torch.Tensor:
        def loss(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return cross_entropy(self.language_model_logits(states).float(), targets, reduction="sum")

        states, targets = hidden.index_select(0, positions), batch.input_ids.index_select(0, positions + 1)
        if recompute and torch.is_grad_enabled():
            return checkpoint(loss, states, targets, use_reentrant=False)
        return loss(states, targets)


def build_judge(
    backbone: str | Path,
    *,
    head: HeadConfig,
    num_classes: int,
    revision: str | None = None,
    attention: AttentionName = "auto",
    sliding_window: bool = True,
    dtype: str | torch.dtype = torch.float32,
    head_seed: int = 0,
    old_head: Sequence[str] = (),
) -> Judge:
    """Put a fresh head on a pretrained backbone.

    Args:
        backbone: Directory of a checkpoint that transformers reads, or a hub name.
        head: Kind and dropout of the head.
        num_classes: Logits per segment.
        revision: Commit of the hub's repository; ignored for a directory.
        attention: Which kernel attends.
        sliding_window: False makes every layer read the whole sequence.
        dtype: Of the weights, and in which is computed.
        head_seed: Of the head's initial weights.
        old_head: Prefixes of weights in the checkpoint that are left behind on purpose, such as ``"score."``. A
            language model's output layer always is.

    Raises:
        UnsupportedJudgeError: The checkpoint lacks weights, has others than the backbone's, or has no safetensors; or
            the architecture cannot read packed sequences.
    """
    config = AutoConfig.from_pretrained(str(backbone), revision=revision, trust_remote_code=False)
    prepare_config(config, sliding_window=sliding_window)
    model = load_backbone(backbone, config, dtype=as_dtype(dtype), revision=revision, old_head=old_head)
    classifier = Head(head, config.hidden_size, num_classes, seed=head_seed).to(model.dtype)
    return Judge(model, classifier, attention=attention, sliding_window=sliding_window)


def new_judge(
    config: PreTrainedConfig,
    *,
    head: HeadConfig,
    num_classes: int,
    seed: int,
    attention: AttentionName = "auto",
    sliding_window: bool = True,
    dtype: str | torch.dtype = torch.float32,
) -> Judge:
    """Make a judge with random weights; torch's global generator is left as it was.

    Args:
        config: Of the backbone; not changed.
        head: Kind and dropout of the head.
        num_classes: Logits per segment.
        seed: Of backbone and head.
        attention: Which kernel attends.
        sliding_window: False makes every layer read the whole sequence.
        dtype: Of the weights, and in which is computed.
    """
    config = type(config).from_dict(config.to_dict())
    prepare_config(config, sliding_window=sliding_window)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config, dtype=as_dtype(dtype), attn_implementation=IMPLEMENTATION)
    classifier = Head(head, config.hidden_size, num_classes, seed=seed).to(model.dtype)
    return Judge(model, classifier, attention=attention, sliding_window=sliding_window)


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
        with _without_progress_bar():
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
def _without_progress_bar() -> Iterator[None]:
    """Every rank would draw its own over the training's."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _check_backbone(backbone: PreTrainedModel) -> None:
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
