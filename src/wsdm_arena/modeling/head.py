"""The classifier on the hidden state of a sequence's last token."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import gelu, linear
from torch.nn.utils import skip_init

from wsdm_arena.config import HeadConfig


class Head(nn.Module):
    """Turn one hidden state per segment into logits.

    ``mlp`` is Dropout - Linear(h, h/2) - Dropout - GELU - Linear(h/2, classes); ``linear`` is one layer without bias
    and dropout; so is ``verbalizer``, which is only made to be given other initial weights, see :meth:`start_from`.
    Dropout masks come from the caller, so that they do not depend on the split of the global batch.

    Args:
        config: Kind and dropout rate.
        hidden_size: h.
        num_classes: Logits per segment.
        seed: Of the initial weights, which do not touch torch's global generator.
    """

    def __init__(self, config: HeadConfig, hidden_size: int, num_classes: int, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        mlp = config.kind == "mlp"
        width = hidden_size // 2 if mlp else hidden_size
        # skip_init: the usual initialisation would draw from the global generator, only to be overwritten.
        self.dense = skip_init(nn.Linear, hidden_size, width) if mlp else None
        self.output = skip_init(nn.Linear, width, num_classes, bias=mlp)
        self.reset_parameters(seed)

    @property
    def dropout_widths(self) -> tuple[int, ...]:
        """Units of each dropout layer; empty where the head drops nothing."""
        if self.dense is None or self.config.dropout == 0:
            return ()
        return (self.dense.in_features, self.dense.out_features)

    def reset_parameters(self, seed: int) -> None:
        """Draw fresh weights, uniform in ``+- fan_in ** -0.5`` like ``nn.Linear``, from a generator of their own."""
        generator = torch.Generator().manual_seed(seed)
        for layer in (self.dense, self.output):
            if layer is None:
                continue
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                fresh = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                with torch.no_grad():
                    parameter.copy_(fresh)

    def start_from(self, rows: torch.Tensor) -> None:
        """Replace the output layer's fresh weights, ``(num_classes, h)``; not for ``mlp``."""
        with torch.no_grad():
            self.output.weight.copy_(rows)

    def forward(self, hidden: torch.Tensor, keep_masks: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Classify.

        Args:
            hidden: Last tokens' hidden states, ``(S, h)``.
            keep_masks: For each of ``dropout_widths`` a bool tensor ``(S, width)``; needed in training mode, not read
                in evaluation mode.

        Returns:
            Logits, ``(S, num_classes)``, float32.
        """
        if self.dense is None:
            return self._logits(hidden)
        if self.training and self.dropout_widths:
            first, second = self._checked(keep_masks, hidden.shape[0])
            scale = 1 / (1 - self.config.dropout)
            hidden = self.dense(hidden * (first * scale).to(hidden.dtype))
            hidden = hidden * (second * scale).to(hidden.dtype)
        else:
            hidden = self.dense(hidden)
        return self._logits(gelu(hidden))

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output layer in float32: rounded to bfloat16, close logits would tie."""
        bias = None if self.output.bias is None else self.output.bias.float()
        return linear(hidden.float(), self.output.weight.float(), bias)

    def _checked(self, keep_masks: Sequence[torch.Tensor] | None, num_segments: int) -> Sequence[torch.Tensor]:
        expected = [(num_segments, width) for width in self.dropout_widths]
        got = None if keep_masks is None else [tuple(mask.shape) for mask in keep_masks]
        if keep_masks is None or got != expected:
            raise ValueError(
                f"in training mode the head needs dropout masks of shapes {expected}, got {got}; draw them with "
                "modeling.dropout.draw_keep_masks, or call judge.eval()"
            )
        return keep_masks
