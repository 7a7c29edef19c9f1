import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from wsdm_arena.modeling import softcap as softcap_module
from wsdm_arena.modeling.segments import SegmentLayout, group_lengths, segment_attention
from wsdm_arena.modeling.softcap import softcap_attention

CPU = torch.device("cpu")
LENGTHS = [3, 150, 1, 40, 40, 7, 330, 38, 2]
BOUNDARIES = [0, *np.cumsum(LENGTHS).tolist()]


def states(heads, seed, dim=8):
    """As a backbone makes them: (1, heads, T, dim), tokens outermost in memory."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, BOUNDARIES[-1], heads, dim, generator=generator, dtype=torch.float64)
    return tokens.transpose(1, 2).requires_grad_()


def naive(query, key, value, scale, window, softcap):
    """One score matrix over all tokens, masked."""
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query @ key.transpose(2, 3) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    positions = torch.arange(query.shape[2])
    document = torch.zeros(query.shape[2], dtype=torch.long)
    for number, (start, end) in enumerate(pairwise(BOUNDARIES)):
        document[start:end] = number
    distance = positions[:, None] - positions
    seen = (distance >= 0) & (distance < (window or 10**9)) & (document[:, None] == document)
    return (scores.masked_fill(~seen, -math.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("softcap", [None, 0.8])
@pytest.mark.parametrize("window", [None, 5, 40, 200])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_segments_attend_like_one_masked_matrix(key_heads, window, softcap):
    query, key, value = states(4, 0), states(key_heads, 1), states(key_heads, 2)
    layout = SegmentLayout(BOUNDARIES, (4, key_heads), CPU)
    assert len(layout.groups) > 3
    assert max(group.num_segments for group in layout.groups) > 1
    ours = segment_attention(query, key, value, layout, scale=0.7, window=window, softcap=softcap)
    theirs = naive(query, key, value, 0.7, window, softcap)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours = torch.autograd.grad(ours, (query, key, value), direction)
    theirs = torch.autograd.grad(theirs, (query, key, value), direction)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("window", [None, 3, 20])
def test_blocks_of_scores_do_not_change_the_result(window, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    query, key, value, direction = (torch.randn(5, heads, 50, 8, generator=generator) for heads in (4, 2, 2, 4))
    query, key, value = (part.requires_grad_() for part in (query, key, value))

    def attend():
        output = softcap_attention(query, key, value, scale=0.5, softcap=2.0, window=window)
        return (output, *torch.autograd.grad(output, (query, key, value), direction))

    whole = attend()
    monkeypatch.setitem(softcap_module.MAX_QUERIES, "cpu", 7)
    monkeypatch.setitem(softcap_module.MAX_SCORES, "cpu", 4 * 7 * 50 * 2)
    for mine, reference in zip(attend(), whole, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-6)


def test_half_precision_does_not_overflow_before_the_cap():
    query = key = torch.full((1, 1, 2, 64), 60.0, dtype=torch.float16)  # q k = 230,400, above float16's 65,504
    value = torch.tensor([1.0, 3.0], dtype=torch.float16).view(1, 1, 2, 1).expand(1, 1, 2, 64)
    output = softcap_attention(query, key, value, scale=0.125, softcap=50.0, window=None)
    assert output[0, 0, :, 0].tolist() == [1.0, 2.0]


def test_groups_hold_similar_lengths_and_waste_little():
    lengths = np.sort(np.random.default_rng(0).lognormal(4, 0.7, 500).astype(int) + 1)[::-1]
    groups = group_lengths(lengths)
    assert sum(group.num_segments for group in groups) == 500
    assert len(groups) < 40
    start = slots = 0
    for group in groups:
        members = lengths[start : start + group.num_segments]
        assert group.first_slot == slots
        assert members[0] == group.length
        assert members[-1] >= 0.88 * group.length - 4
        start, slots = start + group.num_segments, slots + group.num_segments * group.length
    assert slots < 1.1 * lengths.sum()


def test_what_padding_computes_is_dropped_even_if_it_is_not_a_number():
    layout = SegmentLayout([0, 2, 5], (1,), CPU)
    assert [(group.num_segments, group.length) for group in layout.groups] == [(2, 3)]
    (padded,) = layout.gather(torch.arange(5.0).view(1, 1, 5, 1))
    assert padded.flatten().tolist() == [2, 3, 4, 0, 1, 1]  # the last token stands in for padding
    output = padded.clone().requires_grad_()
    spoiled = torch.where(torch.tensor([0, 0, 0, 0, 0, 1]).bool().view(2, 1, 3, 1), math.nan, output)
    tokens = layout.scatter([spoiled])
    assert tokens.flatten().tolist() == [0, 1, 2, 3, 4]
    tokens.sum().backward()
    assert output.grad.flatten().tolist() == [1, 1, 1, 1, 1, 0]
