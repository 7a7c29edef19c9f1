import math

import torch

from wsdm_arena.training.loss import soft_label_cross_entropy, swap_labels


def test_sums_the_cross_entropy_of_soft_labels() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    labels = torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    torch.testing.assert_close(soft_label_cross_entropy(logits, labels).item(), math.log(2) + math.log(4 / 3))


def test_hard_labels_give_the_usual_cross_entropy() -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 2, 1, 0, 1])
    usual = torch.nn.functional.cross_entropy(logits, classes, reduction="sum")
    torch.testing.assert_close(soft_label_cross_entropy(logits, torch.eye(3)[classes]), usual)


def test_swapping_exchanges_a_and_b_and_leaves_the_tie() -> None:
    labels = torch.tensor([[0.5, 0.125, 0.375]])
    assert swap_labels(labels).tolist() == [[0.125, 0.5, 0.375]]
    assert torch.equal(swap_labels(swap_labels(labels)), labels)
