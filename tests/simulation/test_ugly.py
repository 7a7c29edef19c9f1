import pandas as pd
import pytest

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import SimulatedArena, simulate_arena
from wsdm_arena.simulation.ugly import CONTROL_TOKENS, ODD_UNICODE, UGLY_WEIGHTS

TEXTS = ["prompt", "response_a", "response_b"]


@pytest.fixture(scope="module")
def arena() -> SimulatedArena:
    return simulate_arena(SimulationConfig(seed=2, num_battles=1500, num_test_pairs=50, ugly_row_rate=0.5))


@pytest.fixture(scope="module")
def battles(arena: SimulatedArena) -> pd.DataFrame:
    truth = arena.simulated_truth[["id", "probability_a", "flaw_a", "flaw_b", "ugly_reason"]]
    return arena.train_table.merge(truth, on="id", validate="one_to_one")


def having(battles: pd.DataFrame, reason: str) -> pd.DataFrame:
    rows = battles[battles["ugly_reason"] == reason]
    assert len(rows) >= 5, f"{reason} did not occur often enough to be tested"
    return rows


def longest(rows: pd.DataFrame) -> pd.Series:
    return rows[TEXTS].map(len).max(axis=1)


def test_every_kind_of_ugly_row_occurs_at_about_its_rate(battles: pd.DataFrame) -> None:
    assert battles["ugly_reason"].notna().mean() == pytest.approx(0.5, abs=0.05)
    assert set(battles["ugly_reason"].dropna()) == set(UGLY_WEIGHTS)


def test_no_ugly_row_at_rate_zero() -> None:
    arena = simulate_arena(SimulationConfig(num_battles=300, ugly_row_rate=0))
    assert arena.simulated_truth["ugly_reason"].isna().all()
    assert arena.train_table[TEXTS].notna().all(axis=None)
    assert not arena.train_table.duplicated(TEXTS).any()


def test_null_and_empty_texts(battles: pd.DataFrame) -> None:
    for reason, is_lost in (("null_response", pd.isna), ("empty_response", lambda text: text.strip() == "")):
        rows = having(battles, reason)
        for side in ("a", "b"):
            assert (rows[f"response_{side}"].map(is_lost) == (rows[f"flaw_{side}"] == "missing")).all()
        assert rows[["flaw_a", "flaw_b"]].eq("missing").any(axis=1).all()
    assert having(battles, "null_prompt")["prompt"].isna().all()
    assert having(battles, "empty_prompt")["prompt"].str.strip().eq("").all()


def test_an_answer_beats_a_missing_one(battles: pd.DataFrame) -> None:
    rows = having(battles, "null_response")
    rows = rows[(rows["flaw_a"] == "none") & (rows["flaw_b"] == "missing")]
    assert len(rows) > 0
    assert (rows["probability_a"] > 0.95).all()


def test_identical_responses_are_a_coin_toss(battles: pd.DataFrame) -> None:
    rows = having(battles, "identical_responses")
    assert (rows["response_a"] == rows["response_b"]).all()
    assert (rows["probability_a"] == 0.5).all()


def test_huge_texts_stay_within_a_million_characters(battles: pd.DataFrame) -> None:
    sizes = longest(having(battles, "huge_text"))
    assert sizes.between(5_000, 1_000_000).all()
    clean = battles[battles["ugly_reason"].isna()]
    assert (longest(clean) < 600).all()


def test_hostile_strings_stand_inside_the_texts(battles: pd.DataFrame) -> None:
    for reason, strings in (
        ("control_tokens", CONTROL_TOKENS),
        ("null_bytes", ("\x00",)),
        ("odd_unicode", ODD_UNICODE),
    ):
        texts = having(battles, reason)[TEXTS].sum(axis=1)
        assert texts.map(lambda text, strings=strings: any(string in text for string in strings)).all()


def test_no_text_holds_a_lone_surrogate(battles: pd.DataFrame) -> None:
    texts = battles[TEXTS].fillna("").to_numpy().ravel()
    assert all(text.encode("utf-8").decode("utf-8") == text for text in texts)  # a lone surrogate would raise


def test_a_repeated_vote_shows_an_earlier_pair_under_a_new_id(battles: pd.DataFrame) -> None:
    first_seen = battles.groupby(TEXTS, dropna=False)["id"].transform("first")
    rows = having(battles, "repeated_vote")
    assert (first_seen[rows.index] != rows["id"]).mean() > 0.95  # the first row has nothing to repeat
    both_votes = battles.loc[rows.index].assign(first=first_seen).merge(battles, left_on="first", right_on="id")
    assert (both_votes["winner_x"] != both_votes["winner_y"]).any()


def test_a_repeated_prompt_has_other_answers(battles: pd.DataFrame) -> None:
    rows = having(battles, "repeated_prompt")
    assert battles.duplicated("prompt", keep=False)[rows.index].mean() > 0.95
    assert not battles.duplicated(TEXTS)[rows.index].any()


def test_ugly_tables_survive_parquet(arena: SimulatedArena, tmp_path) -> None:
    arena.train_table.to_parquet(tmp_path / "train.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "train.parquet"), arena.train_table)
