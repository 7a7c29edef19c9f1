import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from trainer_rivals.measuring import training_flops
from trainer_rivals.preparation import NEIGHBOURS, Shape, choose_at_quantiles
from trainer_rivals.task import ReadLog, Task


def test_chosen_battles_have_the_lengths_of_all_and_neighbours_of_their_own():
    lengths = np.random.default_rng(0).lognormal(6, 0.7, size=5_000).astype(int)
    chosen = choose_at_quantiles(lengths, 64)
    assert len(set(chosen.tolist())) == 64
    assert abs(lengths[chosen].mean() / lengths.mean() - 1) < 0.05
    groups = np.sort(lengths[chosen]).reshape(-1, NEIGHBOURS)
    assert (groups.sum(axis=1) / (NEIGHBOURS * groups.max(axis=1))).mean() > 0.99, "sorted batches are without padding"


def test_no_more_battles_are_chosen_than_there_are():
    assert sorted(choose_at_quantiles(np.arange(4), 4).tolist()) == [0, 1, 2, 3]
    assert set(choose_at_quantiles(np.arange(3), 8).tolist()) <= {0, 1, 2}


def test_what_was_read_counts_every_battle_once_and_padding_apart():
    log = ReadLog()
    log.add([0, 1, 0], [4, 2, 4])
    log.add([1], [2])
    assert log.battles == {0: 2, 1: 2}
    assert log.describe() == {"battles": 2, "sequences": 4, "useful_tokens": 12, "useful_share": round(12 / 14, 3)}


def test_operations_of_a_training_are_six_a_weight_and_token_and_attention():
    config = Shape(
        hidden_size=8, num_layers=3, num_heads=2, num_key_value_heads=1, intermediate_size=16, vocabulary=99
    ).config("llama", None)
    weights = 3 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16)
    assert training_flops(config, [1]) == 6 * weights + 3 * 12 * 8
    assert training_flops(config, [5, 5]) == 10 * 6 * weights + 3 * 12 * 8 * 30


def test_a_task_travels_as_an_argument():
    task = Task(Path("work"), "ours", 3, 1, "cpu", 2, is_scored=True, groups_all=False)
    assert Task.from_json(task.to_json()) == task
