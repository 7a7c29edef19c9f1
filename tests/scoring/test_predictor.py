"""One process; several are in tests/training/test_ranks.py."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.scoring.predictor import TokenizedPairs, canonical_probabilities, score_pairs


class FakeStore:
    """Pair ``k`` reads (k, k + 1, 100) in order "ab" and (k, 100, k + 1) in order "ba", and grows with k."""

    def __init__(self, pair_ids: list[str]) -> None:
        self.pair_ids = pair_ids
        self.lengths = np.array([3 + row for row in range(len(pair_ids))], dtype=np.int32)
        self.truncated = np.array([row % 2 == 1 for row in range(len(pair_ids))])

    def rows(self, pair_ids: list[str]) -> np.ndarray:
        return np.array([self.pair_ids.index(pair_id) for pair_id in pair_ids], dtype=np.int64)

    def sequence(self, row: int, order: str) -> np.ndarray:
        pair = [row + 1, 100] if order == "ab" else [100, row + 1]
        return np.array([row, *pair, *[7] * row], dtype=np.int32)


@dataclass
class FakeJudge:
    """Logits are the second and third token of each segment; remembers what it was given."""

    batches: list[PackedBatch] = field(default_factory=list)
    grad_modes: list[bool] = field(default_factory=list)

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        self.batches.append(batch)
        self.grad_modes.append(torch.is_grad_enabled())
        starts = torch.tensor(batch.boundaries[:-1])
        return torch.stack([batch.input_ids[starts + 1], batch.input_ids[starts + 2]], dim=1).float() / 100


def tokenized(num_pairs: int) -> TokenizedPairs:
    names = [f"pair{number}" for number in range(num_pairs)]
    half = num_pairs // 2
    stores = {"first": FakeStore(names[:half]), "second": FakeStore(names[half:])}
    tables = ["first"] * half + ["second"] * (num_pairs - half)
    order = np.random.default_rng(0).permutation(num_pairs)
    return TokenizedPairs.look_up([names[i] for i in order], [tables[i] for i in order], stores)  # type: ignore[arg-type]


@pytest.mark.parametrize("max_tokens", [1, 17, 1_000_000])
def test_every_pair_is_read_once_in_each_order_whatever_the_budget(max_tokens: int) -> None:
    pairs, judge = tokenized(9), FakeJudge()
    table = score_pairs(judge, pairs, max_tokens=max_tokens, device="cpu")
    assert table is not None
    assert list(table["pair_id"]) == [name for name in pairs.pair_ids for _ in range(2)]
    assert list(table["order"]) == ["ab", "ba"] * 9
    rows = dict(zip(pairs.pair_ids, pairs.rows, strict=True))
    for row in table.itertuples():
        shown = [(rows[row.pair_id] + 1) / 100, 1.0]
        expected = shown if row.order == "ab" else shown[::-1]
        np.testing.assert_allclose(row.logits, expected, atol=1e-6)
    assert sum(batch.num_segments for batch in judge.batches) == 18
    assert all(batch.num_tokens <= max_tokens or batch.num_segments == 1 for batch in judge.batches)
    assert set(judge.grad_modes) == {False}


def test_probabilities_are_in_canonical_order_and_logits_as_displayed() -> None:
    table = score_pairs(FakeJudge(), tokenized(5), max_tokens=50, device="cpu")
    assert table is not None
    by_order = {order: rows.set_index("pair_id") for order, rows in table.groupby("order")}
    for pair_id, ab in by_order["ab"].iterrows():
        ba = by_order["ba"].loc[pair_id]
        np.testing.assert_array_equal(ab["logits"], ba["logits"][::-1])
        np.testing.assert_allclose(ab["probabilities"], ba["probabilities"], atol=1e-7)
        assert ab["probabilities"][1] > 0.5  # the answer shown as 100 is B in canonical order


def test_one_order_can_be_asked_for() -> None:
    table = score_pairs(FakeJudge(), tokenized(4), max_tokens=50, device="cpu", orders=("ba",))
    assert table is not None
    assert list(table["order"]) == ["ba"] * 4


def test_truncation_comes_with_the_predictions() -> None:
    pairs = tokenized(6)
    table = score_pairs(FakeJudge(), pairs, max_tokens=50, device="cpu")
    assert table is not None
    expected = dict(zip(pairs.pair_ids, pairs.truncated, strict=True))
    assert {row.pair_id: row.truncated for row in table.itertuples()} == expected
    assert set(expected.values()) == {True, False}


def test_nothing_to_score_gives_an_empty_table() -> None:
    table = score_pairs(FakeJudge(), tokenized(4).take(np.array([], dtype=np.int64)), max_tokens=50, device="cpu")
    assert table is not None
    assert table.empty
    assert list(table.columns) == ["pair_id", "order", "logits", "probabilities", "truncated"]


def test_progress_counts_all_tokens() -> None:
    pairs, told = tokenized(5), []
    score_pairs(FakeJudge(), pairs, max_tokens=11, device="cpu", on_batch=told.append)
    assert len(told) > 1
    assert sum(told) == 2 * pairs.lengths.sum()


def test_a_pair_asked_for_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"more than once: \['pair0'\]"):
        score_pairs(FakeJudge(), repeated(), max_tokens=50, device="cpu")


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match=r"orders=\['aa'\]: must be some of \['ab', 'ba'\]"):
        score_pairs(FakeJudge(), tokenized(2), max_tokens=50, device="cpu", orders=("aa",))


def test_softmax_of_three_classes_exchanges_only_a_and_b() -> None:
    logits = np.log(np.array([[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]], dtype=np.float32))
    found = canonical_probabilities(logits, np.array([False, True]))
    np.testing.assert_allclose(found, [[0.5, 0.2, 0.3], [0.2, 0.5, 0.3]], atol=1e-6)


def test_huge_logits_do_not_overflow() -> None:
    found = canonical_probabilities(np.array([[1e4, 0.0]], dtype=np.float32), np.array([False]))
    np.testing.assert_array_equal(found, [[1.0, 0.0]])


def repeated() -> TokenizedPairs:
    pairs = tokenized(4)
    position = int(np.flatnonzero(pairs.pair_ids == "pair0")[0])
    return pairs.take(np.array([position, position]))
