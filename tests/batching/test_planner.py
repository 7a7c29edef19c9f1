import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdm_arena.batching.planner import Planner, PlanningError, draw_epoch, plan_scoring, plan_update


def as_lists(plan):
    return [[batch.tolist() for batch in step] for step in plan.micro_steps]


def planner_of(phases, lengths, **changes):
    arguments = {
        "battles_per_update": 2,
        "epochs": 1,
        "seed": 3,
        "world_size": 1,
        "max_tokens_per_micro_batch": 100,
    }
    return Planner([np.array(phase) for phase in phases], np.array(lengths), **{**arguments, **changes})


def test_two_battles_fill_two_ranks_evenly():
    plan = plan_update(np.array([0, 1]), np.array([6, 4]), world_size=2, max_tokens_per_micro_batch=10)
    assert as_lists(plan) == [[[0, 2], [1, 3]]]  # 6 + 4 tokens on each rank


def test_micro_steps_are_as_few_as_the_budget_allows():
    plan = plan_update(np.arange(3), np.array([5, 5, 5]), world_size=1, max_tokens_per_micro_batch=10)
    assert [len(step[0]) for step in plan.micro_steps] == [2, 2, 2]


def test_sequences_longer_than_the_budget_get_micro_batches_of_their_own():
    lengths = np.array([50, 3, 2])
    plan = plan_update(np.arange(3), lengths, world_size=1, max_tokens_per_micro_batch=10)
    assert as_lists(plan) == [[[0]], [[1]], [[2, 3, 4, 5]]]


def test_a_tight_fit_that_longest_first_misses_is_found():
    # Giving each of 3, 3, 2, 2, 2, 2, 2, 2 to the emptiest of three bins ends with one of 7.
    lengths = np.array([2, 2, 2, 3])
    plan = plan_update(np.arange(4), lengths, world_size=3, max_tokens_per_micro_batch=6)
    assert [[int(lengths[batch // 2].sum()) for batch in step] for step in plan.micro_steps] == [[6, 6, 6]]


def test_ranks_without_a_sequence_get_an_empty_micro_batch():
    plan = plan_update(np.array([0]), np.array([7]), world_size=3, max_tokens_per_micro_batch=10)
    assert as_lists(plan) == [[[0], [1], []]]


def test_micro_batches_are_sorted_by_length():
    lengths = np.random.default_rng(0).integers(1, 50, 40)
    plan = plan_update(np.arange(40), lengths, world_size=2, max_tokens_per_micro_batch=400)
    batches = [lengths[batch // 2] for step in plan.micro_steps for batch in step]
    assert max(map(len, batches)) > 2
    assert all((np.diff(batch) <= 0).all() for batch in batches)


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    world_size=st.integers(1, 9),
    budget=st.integers(1, 400),
)
def test_every_sequence_is_read_once_within_the_budget(lengths, world_size, budget):
    lengths = np.array(lengths)
    battles = np.arange(lengths.size)[::-1]
    plan = plan_update(battles, lengths, world_size=world_size, max_tokens_per_micro_batch=budget)
    batches = [batch for step in plan.micro_steps for batch in step]
    assert sorted(np.concatenate(batches).tolist()) == list(range(2 * lengths.size))
    assert {len(step) for step in plan.micro_steps} == {world_size}
    assert all(lengths[batch // 2].sum() <= budget or len(batch) == 1 for batch in batches)
    assert all(any(len(batch) for batch in step) for step in plan.micro_steps)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), num_battles=st.integers(0, 50), size=st.integers(1, 12))
def test_an_epoch_holds_every_battle_once_and_keeps_the_partial_batch(seed, num_battles, size):
    batches = draw_epoch(num_battles, battles_per_update=size, seed=seed, epoch=0, phase=0)
    assert [batch.size for batch in batches] == [size] * (num_battles // size) + [num_battles % size] * bool(
        num_battles % size
    )
    assert sorted(number for batch in batches for number in batch.tolist()) == list(range(num_battles))


def test_seed_phase_and_epoch_each_change_the_order():
    def order(**changes):
        arguments = {"seed": 3, "epoch": 0, "phase": 0, **changes}
        return np.concatenate(draw_epoch(50, battles_per_update=7, **arguments)).tolist()

    orders = [order(), order(seed=4), order(epoch=1), order(phase=1)]
    assert order() == orders[0]
    assert len({tuple(one) for one in orders}) == 4


def test_the_shuffle_is_the_same_on_every_machine():
    batches = draw_epoch(6, battles_per_update=4, seed=3, epoch=0, phase=0)
    assert [batch.tolist() for batch in batches] == [[2, 5, 4, 1], [3, 0]]


def test_phases_follow_one_another_and_each_is_read_for_all_epochs():
    planner = planner_of([[0, 1, 2], [3, 4]], [5] * 5, epochs=2)
    plans = list(planner)
    assert len(planner) == len(plans) == 6
    assert [(plan.update, plan.phase, plan.epoch) for plan in plans] == [
        (0, 0, 0), (1, 0, 0), (2, 0, 1), (3, 0, 1), (4, 1, 0), (5, 1, 1),
    ]  # fmt: skip
    read = [
        sorted(number for plan in plans if plan.phase == phase for number in plan.battles.tolist()) for phase in (0, 1)
    ]
    assert read == [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4]]


def test_global_batches_do_not_depend_on_the_number_of_ranks():
    lengths = np.random.default_rng(0).integers(1, 90, 31)
    batches = [
        [plan.battles.tolist() for plan in planner_of([range(31)], lengths, battles_per_update=8, world_size=ranks)]
        for ranks in (1, 2, 5)
    ]
    assert batches[0] == batches[1] == batches[2]


def test_a_saved_position_goes_on_with_the_next_update_at_another_world_size():
    lengths = np.random.default_rng(0).integers(1, 90, 31)
    whole = [plan.battles.tolist() for plan in planner_of([range(20), range(20, 31)], lengths, epochs=2)]
    planner = planner_of([range(20), range(20, 31)], lengths, epochs=2)
    iterator = iter(planner)
    for _ in range(13):
        next(iterator)
    resumed = planner_of([range(20), range(20, 31)], lengths, epochs=2, world_size=4)
    resumed.load_state_dict(planner.state_dict())
    assert [plan.battles.tolist() for plan in resumed] == whole[13:]
    assert list(resumed) == []


@pytest.mark.parametrize("change", [{"seed": 4}, {"epochs": 2}, {"battles_per_update": 3}, {"lengths": [1, 2, 4]}])
def test_a_position_of_another_plan_is_refused(change):
    state = planner_of([[0, 1, 2]], [1, 2, 3]).state_dict()
    other = planner_of([[0, 1, 2]], change.pop("lengths", [1, 2, 3]), **change)
    with pytest.raises(PlanningError, match="another plan"):
        other.load_state_dict(state)


def test_stats_count_both_orders_of_every_epoch():
    stats = planner_of([[0, 1], [2]], [5, 200, 300], epochs=2).stats()
    assert (stats.num_updates, stats.num_sequences, stats.num_tokens) == (4, 12, 4 * 505)
    assert (stats.num_oversized, stats.longest) == (8, 300)


@pytest.mark.parametrize(
    ("phases", "lengths", "change", "message"),
    [
        ([[]], [1], {}, "no battle to train on"),
        ([[0, 3]], [1, 2], {}, "phase 0 names battles 0 to 3"),
        ([[0]], [0], {}, "sequence 0 has 0 tokens"),
        ([[0]], [1], {"max_tokens_per_micro_batch": 0}, "token budget"),
        ([[0]], [1], {"world_size": 0}, "world_size is 0"),
        ([[0]], [1], {"battles_per_update": 0}, "battles_per_update is 0"),
    ],
)
def test_impossible_plans_are_refused(phases, lengths, change, message):
    with pytest.raises(PlanningError, match=message):
        planner_of(phases, lengths, **change)


def test_ranks_are_balanced_at_the_arenas_lengths():
    lengths = np.clip(np.random.default_rng(1).lognormal(math.log(1000), 0.7, 8000), 200, 4096).astype(int)
    for ranks, limit in ((4, 1.002), (8, 1.005)):
        plans = list(
            planner_of(
                [range(8000)], lengths, battles_per_update=80, world_size=ranks, max_tokens_per_micro_batch=16_384
            )
        )
        loads = [
            np.array([[lengths[batch // 2].sum() for batch in step] for step in plan.micro_steps]) for plan in plans
        ]
        slowest = sum(load.max(axis=1).sum() for load in loads)
        assert slowest <= limit * sum(load.sum() for load in loads) / ranks
        fewest = [len(load) == math.ceil(load.sum() / (ranks * 16_384)) for load in loads]
        assert np.mean(fewest) >= 0.95


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), max_size=80),
    world_size=st.integers(1, 9),
    budget=st.integers(1, 500),
)
def test_scoring_reads_every_sequence_once_at_any_world_size(lengths, world_size, budget):
    lengths = np.array(lengths, dtype=np.int64)
    plan = plan_scoring(lengths, world_size=world_size, max_tokens=budget)
    batches = [batch for rank in plan for batch in rank]
    assert len(plan) == world_size
    assert len({len(rank) for rank in plan}) == 1
    assert sorted(number for batch in batches for number in batch.tolist()) == list(range(lengths.size))
    assert all(lengths[batch].sum() <= budget or len(batch) == 1 for batch in batches)


def test_scoring_puts_neighbours_in_length_together_and_shares_out_the_work():
    plan = plan_scoring(np.array([3, 9, 3, 9, 3, 9, 3, 9]), world_size=2, max_tokens=1000)
    assert [[batch.tolist() for batch in rank] for rank in plan] == [[[1, 3, 5]], [[7, 0, 2, 4, 6]]]
