import pytest
import torch

from wsdm_arena.modeling.dropout import draw_keep_masks

READINGS = [(f"{number:032x}", order) for number in range(200) for order in ("ab", "ba")]


def draw(readings=READINGS, rate=0.1, **changes):
    return draw_keep_masks(readings, (64, 32), rate=rate, **{"seed": 3, "update": 5, **changes})


def test_masks_do_not_depend_on_which_segments_share_a_batch():
    whole = draw()
    picked = [7, 3, 350]
    parts = draw([READINGS[position] for position in picked])
    assert [tuple(mask.shape) for mask in whole] == [(400, 64), (400, 32)]
    for mask, part in zip(whole, parts, strict=True):
        assert torch.equal(mask[picked], part)


@pytest.mark.parametrize("change", [{"seed": 4}, {"update": 6}])
def test_seed_and_update_change_every_mask(change):
    same = (draw()[0] == draw(**change)[0]).all(dim=1)
    assert same.sum() <= 2  # 64 units kept in both by chance: 0.81 ** 64 = 1e-6 of the rows


def test_orders_pairs_and_layers_differ():
    wide, narrow = draw()
    assert not torch.equal(wide[0::2], wide[1::2])
    assert len({tuple(row.tolist()) for row in wide}) > 390
    assert not torch.equal(wide[:, :32], narrow)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_units_are_dropped_at_the_rate(rate):
    wide, narrow = draw(rate=rate)
    dropped = 1 - torch.cat([wide.flatten(), narrow.flatten()]).float().mean().item()
    assert dropped == pytest.approx(rate, abs=0.012 if rate else 0)


def test_masks_are_the_same_on_every_machine():
    (mask,) = draw_keep_masks([("pair", "ab")], [8], rate=0.5, seed=0, update=0)
    assert mask[0].int().tolist() == [1, 0, 0, 0, 0, 1, 1, 1]


def test_a_head_without_dropout_needs_no_masks():
    assert draw_keep_masks(READINGS, (), rate=0.1, seed=0, update=0) == ()


def test_any_text_names_a_pair():
    mask, _ = draw([("\ud800\0", "ab"), ("", "ba")])
    assert mask.shape == (2, 64)
