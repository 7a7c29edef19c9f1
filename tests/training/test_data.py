from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.training.tiny_runs import TinyRuns
from wsdm_arena.training.data import SelectionError, load_run_data
from wsdm_arena.training.run import RunDirectory


def load(tiny_runs: TinyRuns, name: str, rows: pd.DataFrame | None = None, **changes):
    run = tiny_runs.make(name, **changes)
    config = RunDirectory(run).read_config()
    if rows is not None:
        rows.to_parquet(run / "selection.parquet")
        config = config.model_copy(update={"selection": run / "selection.parquet"})
    return load_run_data(config)


def test_labels_and_tokens_are_joined_by_key_whatever_the_order_of_rows(tiny_runs: TinyRuns) -> None:
    shuffled = tiny_runs.rows.sample(frac=1, random_state=1)
    data = load(tiny_runs, "shuffled", shuffled)
    votes = tiny_runs.rows.set_index("pair_id")["probability_a"]
    texts = tiny_runs.pairs.set_index("pair_id")
    assert list(data.train.tokens.pair_ids) == shuffled.loc[shuffled["split"] == "train", "pair_id"].tolist()
    for position, pair_id in enumerate(data.train.tokens.pair_ids):
        assert data.train.labels[position, 0] == votes[pair_id]
        ab, ba = data.train.tokens.sequence(2 * position), data.train.tokens.sequence(2 * position + 1)
        assert len(ab) == len(ba) == data.train.tokens.lengths[position]
        assert sorted(ab) == sorted(ba)
    assert len(texts) == 96


def test_phases_are_separate_and_in_order(tiny_runs: TinyRuns) -> None:
    data = load(tiny_runs, "phases")
    assert [len(phase) for phase in data.phases] == [40, 28]
    first = data.train.tokens.pair_ids[data.phases[0]]
    assert list(first) == tiny_runs.rows.query("split == 'train' and phase == 0")["pair_id"].tolist()


def test_max_battles_is_a_seeded_draw_of_each_phase(tiny_runs: TinyRuns) -> None:
    drawn = [
        load(tiny_runs, f"draw{seed}{n}", training={"max_battles": 10}, seed=seed)
        for seed, n in ((1, 0), (1, 1), (2, 0))
    ]
    assert [len(phase) for phase in drawn[0].phases] == [10, 10]
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0].phases, drawn[1].phases, strict=True))
    assert not np.array_equal(drawn[0].phases[0], drawn[2].phases[0])


def test_a_pair_with_two_votes_is_read_once_and_compared_twice(tiny_runs: TinyRuns) -> None:
    held_out = load(tiny_runs, "votes").held_out
    assert len(held_out) == 29
    assert len(held_out.unique_pairs()) == 28
    everything = held_out.draw_pairs(28, seed=0)
    assert len(everything) == 29
    assert len(held_out.draw_pairs(5, seed=0).unique_pairs()) == 5


def test_rows_without_tokens_are_named(tiny_runs: TinyRuns) -> None:
    rows = tiny_runs.rows.copy()
    rows.loc[3, "pair_id"] = "f" * 32
    with pytest.raises(SelectionError, match=r"'battles'.*ffffffff"):
        load(tiny_runs, "unknown pair", rows)


def test_an_unknown_table_is_named(tiny_runs: TinyRuns) -> None:
    with pytest.raises(SelectionError, match=r"no tokens for table 'collected'.*\['battles'\]"):
        load(tiny_runs, "unknown table", tiny_runs.rows.assign(table="collected"))


def test_a_missing_column_is_named(tiny_runs: TinyRuns) -> None:
    with pytest.raises(SelectionError, match=r"selection\.parquet: columns \['probability_b'\] are missing"):
        load(tiny_runs, "missing column", tiny_runs.rows.drop(columns="probability_b"))


def test_a_missing_selection_is_named(tiny_runs: TinyRuns) -> None:
    with pytest.raises(SelectionError, match=r"nowhere\.parquet: there is no such file"):
        load(tiny_runs, "no selection", selection=Path("nowhere.parquet"))


def test_labels_to_train_on_must_be_probabilities(tiny_runs: TinyRuns) -> None:
    rows = tiny_runs.rows.copy()
    rows.loc[5, "probability_a"] = np.nan
    with pytest.raises(SelectionError, match=r"1 rows to train on .* first pairs \['0{31}5'\]"):
        load(tiny_runs, "no label", rows)


def test_held_out_rows_need_no_label(tiny_runs: TinyRuns) -> None:
    rows = tiny_runs.rows.copy()
    rows.loc[rows["split"] == "held_out", ["probability_a", "probability_b"]] = np.nan
    assert np.isnan(load(tiny_runs, "unlabelled", rows).held_out.labels).all()


def test_a_pair_to_train_on_that_is_held_out_is_named(tiny_runs: TinyRuns) -> None:
    rows = tiny_runs.rows.copy()
    held_out = rows.index[rows["split"] == "held_out"][0]
    rows.loc[held_out, "pair_id"] = rows.loc[7, "pair_id"]
    with pytest.raises(
        SelectionError,
        match=r"selection\.parquet: 1 pair_ids of tables \['battles'\], first \['0{31}7'\], are both .* leave them out",
    ):
        load(tiny_runs, "leaked", rows)


def test_a_battle_twice_in_a_phase_is_named(tiny_runs: TinyRuns) -> None:
    rows = tiny_runs.rows.copy()
    rows.loc[8, "battle_id"] = rows.loc[7, "battle_id"]
    assert rows.loc[8, "phase"] == rows.loc[7, "phase"] == 0
    with pytest.raises(
        SelectionError,
        match=r"1 battle_ids of tables \['battles'\], first \['0{31}7'\], stand more than once in phase 0; keep",
    ):
        load(tiny_runs, "repeated", rows)


def test_a_battle_may_stand_in_several_phases_and_a_pair_have_several_votes(tiny_runs: TinyRuns) -> None:
    rows = tiny_runs.rows.copy()
    rows.loc[45, ["pair_id", "battle_id"]] = rows.loc[7, ["pair_id", "battle_id"]]
    rows.loc[46, "pair_id"] = rows.loc[47, "pair_id"]
    assert rows.loc[45, "phase"] == 1
    assert [len(phase) for phase in load(tiny_runs, "phases and votes", rows).phases] == [40, 28]
