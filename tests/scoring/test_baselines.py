import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.scoring.baselines import (
    score_baselines,
    score_ceiling,
    score_longer_wins,
    score_majority,
    score_tfidf,
)


def _battles(rows, **columns) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["response_a", "response_b", "probability_a"])
    ids = [f"{number:032x}" for number in range(len(table))]
    return table.assign(
        probability_b=1 - table["probability_a"], battle_id=ids, pair_id=[f"p{name}" for name in ids], id=ids, **columns
    )


def _swapped(battles: pd.DataFrame) -> pd.DataFrame:
    names = {"response_a": "response_b", "response_b": "response_a", "probability_a": "probability_b",
             "probability_b": "probability_a"}  # fmt: skip
    return battles.rename(columns=names)


@pytest.fixture
def training() -> pd.DataFrame:
    return _battles([("long answer", "no", 1.0)] * 7 + [("no", "long answer", 1.0)] * 3)


def test_longer_wins_names_the_longer_answer_and_splits_equal_lengths(training):
    held_out = _battles([("aaa", "b", 1.0), ("a", "bbb", 1.0), ("a", "b", 1.0), (None, "b", 1.0), (None, "", 0.0)])
    scored = score_longer_wins(training, held_out)
    assert scored["probability_a"].tolist() == pytest.approx([8 / 12, 4 / 12, 0.5, 4 / 12, 0.5])
    assert scored["battle_id"].tolist() == held_out["battle_id"].tolist()
    assert np.allclose(scored["probability_a"] + scored["probability_b"], 1)


def test_longer_wins_says_longer_even_where_the_shorter_one_usually_wins(training):
    scored = score_longer_wins(_swapped(training), _battles([("aaa", "b", 1.0)]))
    assert scored["probability_a"][0] > 0.5


def test_majority_is_the_winners_share_of_the_training_folds():
    scored = score_majority(_battles([("a", "b", 1.0)] * 3 + [("a", "b", 0.0)]), _battles([("c", "d", 0.0)] * 2))
    assert scored[["probability_a", "probability_b"]].to_numpy().tolist() == [[0.75, 0.25]] * 2


def test_tfidf_learns_words_and_is_symmetric():
    random = np.random.default_rng(0)
    words = np.array(["tea", "bread", "music", "winter", "rivers"])

    def draw(count):
        texts = [" ".join(random.choice(words, 4)) for _ in range(2 * count)]
        marked = (random.random(count) < 0.5).tolist()
        rows = [
            (a + " sorry" * (not good), b + " sorry" * good, float(good))
            for a, b, good in zip(texts[:count], texts[count:], marked, strict=True)
        ]
        return _battles(rows)

    training, held_out = draw(300), draw(100)
    scored = score_tfidf(training, held_out)
    assert ((scored["probability_a"] > 0.5) == (held_out["probability_a"] > 0.5)).mean() > 0.95
    swapped = score_tfidf(training, _swapped(held_out))
    assert np.allclose(swapped["probability_b"], scored["probability_a"], atol=1e-6)
    again = score_tfidf(training, held_out)
    assert again.equals(scored)


@pytest.mark.parametrize("rows", [[("a", "b", 1.0)] * 6, [("a", "b", 0.5)] * 6, [(None, "", 1.0), ("", None, 1.0)]])
def test_tfidf_survives_training_battles_that_teach_nothing(rows):
    scored = score_tfidf(_battles(rows), _battles([("x", "y", 1.0), (None, None, 0.0)]))
    assert np.isfinite(scored[["probability_a", "probability_b"]].to_numpy()).all()
    assert scored["probability_a"][1] == pytest.approx(0.5)


def test_ceiling_is_the_truth_and_only_where_all_of_it_is_known():
    held_out = _battles([("a", "b", 1.0), ("c", "d", 0.0)])
    truth = pd.DataFrame({"id": held_out["id"][::-1], "probability_a": [0.2, 0.9]})
    assert score_ceiling(held_out, truth)["probability_a"].tolist() == [0.9, 0.2]
    assert score_ceiling(held_out, truth.iloc[:1]) is None
    assert score_ceiling(held_out, pd.DataFrame()) is None
    with pytest.raises(pd.errors.MergeError):
        score_ceiling(held_out, pd.concat([truth, truth]))


def test_baselines_of_three_classes_leave_ties_their_share():
    training = _battles([("aaa", "b", 1.0), ("a", "bbb", 0.0)] * 4, probability_tie=0.0)
    ties = _battles([("a", "b", 0.0)] * 2, probability_tie=1.0).assign(probability_b=0.0)
    held_out = _battles([("aaa", "b", 1.0)], probability_tie=0.0)
    for name, scored in score_baselines(pd.concat([training, ties]), held_out).items():
        probabilities = scored[["probability_a", "probability_b", "probability_tie"]].to_numpy()
        assert probabilities.sum() == pytest.approx(1), name
        assert probabilities[0, 2] == pytest.approx(0.2), name


def test_baselines_want_battles_on_both_sides(training):
    assert list(score_baselines(training, training)) == ["longer_wins", "majority", "tfidf"]
    with pytest.raises(ValueError, match="0 held out"):
        score_baselines(training, training.iloc[:0])


def test_huge_answers_cost_no_more_than_their_beginning():
    rows = [("x y " * 250_000, "z " * 500_000, 1.0), ("z", "x y", 0.0)] * 5
    started = time.perf_counter()
    score_tfidf(_battles(rows), _battles(rows))
    assert time.perf_counter() - started < 5


def test_baselines_do_not_import_torch():
    code = "import sys, wsdm_arena.scoring.baselines, wsdm_arena.scoring.scoreboard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
