import pytest
import torch

from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling.head import Head


def test_mlp_is_two_layers_with_gelu_between():
    head = Head(HeadConfig(), 8, 3, seed=0).eval()
    hidden = torch.randn(5, 8)
    dense, output = head.dense, head.output
    inner = torch.nn.functional.gelu(hidden @ dense.weight.T + dense.bias)
    torch.testing.assert_close(head(hidden), inner @ output.weight.T + output.bias)
    assert {name: tuple(weight.shape) for name, weight in head.state_dict().items()} == {
        "dense.weight": (4, 8),
        "dense.bias": (4,),
        "output.weight": (3, 4),
        "output.bias": (3,),
    }


def test_linear_is_one_layer_without_bias_or_dropout():
    head = Head(HeadConfig(kind="linear", dropout=0.5), 8, 2, seed=0).train()
    hidden = torch.randn(5, 8)
    torch.testing.assert_close(head(hidden), hidden @ head.output.weight.T)
    assert list(head.state_dict()) == ["output.weight"]
    assert head.dropout_widths == ()


def test_weights_fill_their_interval_and_depend_on_the_seed_alone():
    weights = [Head(HeadConfig(), 256, 2, seed=seed).dense.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert 0.99 / 16 < weights[0].abs().max() <= 1 / 16
    assert weights[0].mean().abs() < 1e-3


def test_logits_are_float32_in_a_bfloat16_judge():
    head = Head(HeadConfig(), 8, 2, seed=0).to(torch.bfloat16).eval()
    assert head(torch.randn(3, 8, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_logits_of_a_bfloat16_judge_are_not_rounded_to_bfloat16(kind):
    head = Head(HeadConfig(kind=kind), 64, 2, seed=0).to(torch.bfloat16).eval()
    logits = head(torch.randn(50, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16))
    assert (logits != logits.to(torch.bfloat16)).float().mean() > 0.9


def test_masks_of_other_shapes_are_refused():
    head = Head(HeadConfig(), 8, 2, seed=0).train()
    with pytest.raises(ValueError, match=r"needs dropout masks of shapes \[\(3, 8\), \(3, 4\)\]"):
        head(torch.randn(3, 8), [torch.ones(2, 8), torch.ones(2, 4)])
