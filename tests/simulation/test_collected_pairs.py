import pandas as pd
import pytest

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import SimulatedArena, simulate_arena, simulate_collected_pairs
from wsdm_arena.simulation.models import ROSTERS

CONFIG = SimulationConfig(seed=7, num_battles=300, num_test_pairs=40)


@pytest.fixture(scope="module")
def files() -> tuple[pd.DataFrame, pd.DataFrame]:
    return simulate_collected_pairs(CONFIG)


@pytest.fixture(scope="module")
def pairs(files: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(files, ignore_index=True)


@pytest.fixture(scope="module")
def arena() -> SimulatedArena:
    return simulate_arena(CONFIG)


def test_two_files_in_the_public_format(files: tuple[pd.DataFrame, pd.DataFrame], pairs: pd.DataFrame) -> None:
    assert [len(file) for file in files] == [750, 750]
    assert all(list(file.index) == list(range(750)) for file in files)
    assert list(pairs.columns) == ["prompt", "response_a", "response_b", "model_a", "model_b"]
    assert set(pairs["model_a"]) == set(pairs["model_b"]) == set(ROSTERS["runs"])
    assert (pairs["model_a"] != pairs["model_b"]).all()


def test_the_same_seed_draws_the_same_pairs_and_another_others(pairs: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pd.concat(simulate_collected_pairs(CONFIG), ignore_index=True), pairs)
    other = pd.concat(simulate_collected_pairs(CONFIG.model_copy(update={"seed": 8})), ignore_index=True)
    assert (other["response_a"] != pairs["response_a"]).mean() > 0.9


def test_the_number_of_pairs_changes_no_earlier_pair_and_no_battle(pairs: pd.DataFrame, arena: SimulatedArena) -> None:
    fewer = CONFIG.model_copy(update={"num_collected_pairs": 101})
    first, second = simulate_collected_pairs(fewer)
    assert (len(first), len(second)) == (51, 50)
    pd.testing.assert_frame_equal(pd.concat([first, second], ignore_index=True), pairs.head(101))
    pd.testing.assert_frame_equal(simulate_arena(fewer).train_table, arena.train_table)


def test_no_pairs_are_two_tables_without_rows() -> None:
    for file in simulate_collected_pairs(CONFIG.model_copy(update={"num_collected_pairs": 0})):
        assert file.shape == (0, 5)


def test_some_prompts_are_those_of_battles_and_of_test_pairs(pairs: pd.DataFrame, arena: SimulatedArena) -> None:
    for table in (arena.train_table, arena.test_table):
        shared = pairs["prompt"].isin(set(table["prompt"].dropna()))
        assert 0 < shared.sum() < len(pairs) / 2


def test_a_share_is_ugly(pairs: pd.DataFrame) -> None:
    ugly = pd.concat(simulate_collected_pairs(CONFIG.model_copy(update={"ugly_row_rate": 0.3})), ignore_index=True)
    clean = pd.concat(simulate_collected_pairs(CONFIG.model_copy(update={"ugly_row_rate": 0.0})), ignore_index=True)
    texts = ["prompt", "response_a", "response_b"]
    assert clean[texts].notna().all(axis=None)
    assert (clean["response_a"] != clean["response_b"]).all()
    assert not clean.duplicated().any()
    assert 0.2 < (ugly[texts].fillna("") != clean[texts]).any(axis=1).mean() < 0.35
    assert 0.003 < (pairs[texts].fillna("") != clean[texts]).any(axis=1).mean() < 0.02
    assert ugly.duplicated().any()
    assert ugly[texts].isna().any(axis=None)
