"""What training minimises: a sum, so that any split of a global batch adds up to the same.

Shapes: S segments, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional


def soft_label_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over segments of the cross-entropy between a label distribution and the judge's.

    Args:
        logits: ``(S, C)`` float32, in displayed order.
        labels: ``(S, C)`` float32, rows sum to 1, in displayed order.

    Returns:
        Scalar.
    """
    return -(labels * functional.log_softmax(logits, dim=-1)).sum()


def swap_labels(labels: Tensor) -> Tensor:
    """Labels of the same battles with A and B exchanged; a tie stays a tie.

    Example:
        >>> swap_labels(torch.tensor([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])).tolist()
        [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]
    """
    return torch.cat([labels[:, 1:2], labels[:, :1], labels[:, 2:]], dim=1)
