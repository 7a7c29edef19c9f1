import hashlib
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import SimulatedArena, ceiling_accuracy, simulate_arena
from wsdm_arena.simulation.draws import Stream, open_stream
from wsdm_arena.simulation.models import ROSTERS, draw_models

SMALL = SimulationConfig(seed=7, num_battles=300, num_test_pairs=40)

PRINT_DIGEST = """
import hashlib
from wsdm_arena.config import SimulationConfig
from wsdm_arena.simulation import simulate_arena
arena = simulate_arena(SimulationConfig(seed=7, num_battles=300, num_test_pairs=40))
print(hashlib.sha256(arena.simulated_truth.to_csv().encode() + arena.train_table.to_csv().encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def arena() -> SimulatedArena:
    return simulate_arena(SimulationConfig())


@pytest.fixture(scope="module")
def clean(arena: SimulatedArena) -> pd.DataFrame:
    truth = arena.simulated_truth.drop(columns=["winner", "language", "model_a", "model_b"])
    battles = arena.train_table.merge(truth, on="id", validate="one_to_one")
    return battles[battles["ugly_reason"].isna()].reset_index(drop=True)


def test_tables_have_the_public_formats(arena: SimulatedArena) -> None:
    train_columns = ["id", "prompt", "response_a", "response_b", "winner", "model_a", "model_b", "language"]
    assert list(arena.train_table.columns) == train_columns
    assert list(arena.test_table.columns) == ["id", "prompt", "response_a", "response_b", "scored"]
    assert list(arena.sample_submission.columns) == ["id", "winner"]
    assert (len(arena.train_table), len(arena.test_table), len(arena.sample_submission)) == (10_500, 1_000, 1_000)
    assert set(arena.train_table["winner"]) == {"model_a", "model_b"}
    assert (arena.sample_submission["id"] == arena.test_table["id"]).all()
    assert arena.test_table["scored"].dtype == bool


def test_the_truth_names_every_row_once(arena: SimulatedArena) -> None:
    ids = [*arena.train_table["id"], *arena.test_table["id"]]
    assert len(set(ids)) == len(ids)
    assert sorted(arena.simulated_truth["id"]) == sorted(ids)
    assert all(isinstance(row_id, str) and len(row_id) == 32 for row_id in ids)
    votes = arena.train_table.merge(arena.simulated_truth, on="id", suffixes=("", "_truth"))
    assert (votes["winner"] == votes["winner_truth"]).all()
    assert (votes["model_a"] != votes["model_b"]).all()


def test_same_seed_same_bytes_in_another_process() -> None:
    arena = simulate_arena(SMALL)
    digest = hashlib.sha256(arena.simulated_truth.to_csv().encode() + arena.train_table.to_csv().encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    result = subprocess.run([sys.executable, "-c", PRINT_DIGEST], capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == digest, result.stderr


def test_another_seed_draws_other_battles_and_other_skills() -> None:
    arena, other = simulate_arena(SMALL), simulate_arena(SMALL.model_copy(update={"seed": 8}))
    assert not set(arena.simulated_truth["id"]) & set(other.simulated_truth["id"])
    assert not set(arena.train_table["prompt"].dropna()) >= set(other.train_table["prompt"].dropna())
    assert (arena.simulated_models["model"] == other.simulated_models["model"]).all()
    assert (arena.simulated_models["skill"] != other.simulated_models["skill"]).all()


def test_backbones_see_models_and_draws_of_no_run() -> None:
    runs, backbones = simulate_arena(SMALL), simulate_arena(SMALL, universe="backbones")
    assert not set(ROSTERS["runs"]) & set(ROSTERS["backbones"])
    assert not set(runs.simulated_truth["id"]) & set(backbones.simulated_truth["id"])
    assert set(backbones.train_table["model_a"]) <= set(ROSTERS["backbones"])
    skills = [model.skill for universe in ("runs", "backbones") for model in draw_models(universe, 7)]
    assert len(set(skills)) == 24


def test_streams_keep_their_places() -> None:
    """A stream's draws depend on its place in the list, so that a new one must be the last."""
    assert get_args(Stream)[:5] == ("models", "train", "test", "ugly_train", "ugly_test")
    first_draws = [open_stream("runs", 0, stream).integers(2**32) for stream in get_args(Stream)]
    assert len(set(first_draws)) == len(first_draws)


def test_the_size_of_one_table_does_not_change_the_other() -> None:
    more = simulate_arena(SMALL.model_copy(update={"num_test_pairs": 90, "num_battles": 350}))
    pd.testing.assert_frame_equal(simulate_arena(SMALL).train_table, more.train_table.head(300))
    pd.testing.assert_frame_equal(simulate_arena(SMALL).test_table, more.test_table.head(40))


def test_a_dozen_languages_of_which_half_the_rows_are_english(arena: SimulatedArena) -> None:
    shares = arena.train_table["language"].value_counts(normalize=True)
    assert len(shares) == 12
    assert shares["English"] == pytest.approx(0.5, abs=0.03)
    assert shares.min() > 0.01
    assert {"Russian", "Chinese", "Japanese", "Korean", "Arabic", "Hindi"} <= set(shares.index)


def test_prompts_are_many_and_none_dominates(arena: SimulatedArena) -> None:
    counts = arena.train_table["prompt"].value_counts()
    assert len(counts) > 5_000
    assert counts.iloc[0] < 0.01 * 10_500


def test_every_flaw_can_be_measured_against_sound_answers(clean: pd.DataFrame) -> None:
    one_sound = clean[(clean["flaw_a"] == "none") != (clean["flaw_b"] == "none")]
    flaws = one_sound["flaw_a"].where(one_sound["flaw_a"] != "none", one_sound["flaw_b"]).value_counts()
    assert flaws.min() > 100
    assert set(flaws.index) == {
        "wrong_language",
        "cut_off",
        "off_topic",
        "wrong_result",
        "needless_length",
        "refusal",
        "compliance",
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_ceiling_lies_between_80_and_90_percent(seed: int) -> None:
    truth = simulate_arena(SimulationConfig(seed=seed, num_battles=2000)).simulated_truth
    clean_ids = truth["id"][truth["ugly_reason"].isna()]
    assert 0.82 < ceiling_accuracy(truth, clean_ids) < 0.88


def test_the_ceiling_is_reached_by_naming_the_likelier_winner(clean: pd.DataFrame, arena: SimulatedArena) -> None:
    named = np.where(clean["probability_a"] >= 0.5, "model_a", "model_b")
    ceiling = ceiling_accuracy(arena.simulated_truth, clean["id"])
    assert (named == clean["winner"]).mean() == pytest.approx(ceiling, abs=0.015)


def test_ceiling_of_literal_rows() -> None:
    truth = pd.DataFrame({"id": ["x", "y", "z"], "probability_a": [0.9, 0.3, 0.5]})
    assert ceiling_accuracy(truth, ["x", "y"]) == pytest.approx(0.8)
    assert ceiling_accuracy(truth, ["z", "z", "x"]) == pytest.approx((0.5 + 0.5 + 0.9) / 3)
    with pytest.raises(ValueError, match="1 of 2 ids are not in simulated_truth, such as 'w'"):
        ceiling_accuracy(truth, ["x", "w"])
    with pytest.raises(ValueError, match="ids is empty"):
        ceiling_accuracy(truth, [])


def test_length_says_little(clean: pd.DataFrame) -> None:
    length_a, length_b = clean["response_a"].str.len(), clean["response_b"].str.len()
    right = np.where(length_a == length_b, 0.5, (length_a > length_b) == (clean["winner"] == "model_a"))
    assert 0.50 < right.mean() < 0.58


def test_a_bag_of_words_says_little(clean: pd.DataFrame, arena: SimulatedArena) -> None:
    held_out = clean["prompt"].map(lambda prompt: hashlib.sha256(prompt.encode()).digest()[0] % 5 == 0).to_numpy()
    features = hstack([_differences(clean, "word", (1, 2)), _differences(clean, "char_wb", (2, 3))]).tocsr()
    a_wins = (clean["winner"] == "model_a").to_numpy()
    model = LogisticRegression(C=0.5, max_iter=300).fit(features[~held_out], a_wins[~held_out])
    accuracy = model.score(features[held_out], a_wins[held_out])
    assert accuracy > 0.5, "the baseline learnt nothing, so this test shows nothing"
    assert accuracy < ceiling_accuracy(arena.simulated_truth, clean["id"][held_out]) - 0.15


def _differences(clean: pd.DataFrame, analyzer: str, ngram_range: tuple[int, int]) -> csr_matrix:
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngram_range, min_df=5, sublinear_tf=True)
    vectorizer.fit(clean["response_a"])
    return vectorizer.transform(clean["response_a"]) - vectorizer.transform(clean["response_b"])
