"""A judge: an unmodified transformers backbone that reads packed sequences, and a head on each last token.

Shapes: T tokens of the micro-batch, S segments, h hidden size.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, overload

import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.modeling.attention import KernelName, UnsupportedJudgeError, choose_attention, plan_attention
from wsdm_arena.modeling.backbone import as_dtype, check_backbone, load_backbone, load_config, new_backbone
from wsdm_arena.modeling.head import Head
from wsdm_arena.modeling.verbalizer import read_answer_rows

VOCABULARY_CHUNK = 1 << 25
"""Next-token logits that are held at once: 128 MiB in float32."""


class JudgeModel(nn.Module):
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
        check_backbone(backbone)
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
        return linear(hidden, self.embeddings)

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
        chunks = predicting.split(max(1, VOCABULARY_CHUNK // self.embeddings.shape[0]))
        losses = [self._chunk_loss(batch, hidden, chunk, recompute=len(chunks) > 1) for chunk in chunks]
        return torch.stack(losses).sum() if losses else hidden.sum().float() * 0

    def kernel(self, device: torch.device) -> KernelName:
        """Which kernel attends on a device; chosen once."""
        dtype = self.backbone.dtype
        if (device, dtype) not in self._kernels:
            self._kernels[device, dtype] = choose_attention(self.config, device, dtype, self.attention)
        return self._kernels[device, dtype]

    @property
    def embeddings(self) -> torch.Tensor:
        """Of the input tokens, ``(vocabulary, h)``."""
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
    answer_ids: Sequence[int] = (),
    old_head: Sequence[str] = (),
) -> JudgeModel:
    """Put a fresh head on a pretrained backbone.

    Args:
        backbone: Directory of a checkpoint that transformers reads, or a hub name.
        head: Kind and dropout of the head.
        num_classes: Logits per segment.
        revision: Commit of the hub's repository; ignored for a directory.
        attention: Which kernel attends.
        sliding_window: False makes every layer read the whole sequence.
        dtype: Of the weights, and in which is computed.
        head_seed: Of the head's initial weights, but for a verbalizer's.
        answer_ids: Tokens that a head of kind ``verbalizer`` starts from, one a class, as
            :func:`~wsdm_arena.prompts.template.require_answers` finds them; other heads do not look at them.
        old_head: Prefixes of weights in the checkpoint that are left behind on purpose, such as ``"score."``. A
            language model's output layer always is.

    Raises:
        UnsupportedJudgeError: The checkpoint lacks weights, has others than the backbone's, or has no safetensors; or
            the architecture cannot read packed sequences; or it has no output layer for a verbalizer to start from.
        ValueError: A verbalizer has another number of tokens than of classes.
    """
    if head.kind == "verbalizer" and len(answer_ids) != num_classes:
        raise ValueError(f"a verbalizer of {num_classes} classes starts from as many tokens, not {list(answer_ids)}")
    config = load_config(backbone, revision=revision, sliding_window=sliding_window)
    model = load_backbone(backbone, config, dtype=as_dtype(dtype), revision=revision, old_head=old_head)
    classifier = Head(head, config.hidden_size, num_classes, seed=head_seed)
    judge = JudgeModel(model, classifier.to(model.dtype), attention=attention, sliding_window=sliding_window)
    if head.kind == "verbalizer":
        rows = read_answer_rows(backbone, config, answer_ids, embeddings=judge.embeddings, revision=revision)
        classifier.start_from(rows)
    return judge


def new_judge(
    config: PreTrainedConfig,
    *,
    head: HeadConfig,
    num_classes: int,
    seed: int,
    attention: AttentionName = "auto",
    sliding_window: bool = True,
    dtype: str | torch.dtype = torch.float32,
) -> JudgeModel:
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
    model = new_backbone(config, sliding_window=sliding_window, dtype=as_dtype(dtype), seed=seed)
    classifier = Head(head, config.hidden_size, num_classes, seed=seed).to(model.dtype)
    return JudgeModel(model, classifier, attention=attention, sliding_window=sliding_window)
