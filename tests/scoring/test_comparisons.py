from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from wsdm_arena.scoring import comparisons
from wsdm_arena.scoring.comparisons import compare_judges
from wsdm_arena.scoring.ensemble import probabilities_by_row
from wsdm_arena.scoring.scoreboard import ScoreboardError


def ids(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def battles(count: int) -> pd.DataFrame:
    frame = {"pair_id": ids(count), "fold": 0, "probability_a": 1.0, "probability_b": 0.0}
    return pd.DataFrame(frame)


def predictions(right: np.ndarray) -> pd.DataFrame:
    read = pd.DataFrame({"pair_id": ids(len(right)), "probabilities": [[0.9, 0.1] if r else [0.2, 0.8] for r in right]})
    return pd.concat([read.assign(order=order) for order in ("ab", "ba")]).sample(frac=1, random_state=1)


def test_judges_are_paired_by_key():
    rng = np.random.default_rng(0)
    first, second = rng.random(200) < 0.7, rng.random(200) < 0.6
    judges = {"student.gemma": predictions(first), "teacher.gemma": predictions(second)}
    (row,) = compare_judges(judges, battles(200), [("student.gemma", "teacher.gemma")], fold=0)
    wins, losses = int((first & ~second).sum()), int((~first & second).sum())
    assert (row["num_first_better"], row["num_second_better"], row["num_battles"]) == (wins, losses, 200)
    assert row["difference"] == pytest.approx((wins - losses) / 200)
    assert row["p_value"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    differences = first.astype(float) - second
    margin = 1.959964 * differences.std(ddof=1) / 200**0.5
    assert row["difference_low"] == pytest.approx(differences.mean() - margin, abs=1e-6)
    assert row["difference_high"] == pytest.approx(differences.mean() + margin, abs=1e-6)


def test_other_folds_do_not_count_and_a_missing_battle_is_refused():
    scored = battles(4)
    scored.loc[3, "fold"] = 1
    judges = {"a": predictions(np.array([True, True, False])), "b": predictions(np.array([True, False, False]))}
    (row,) = compare_judges(judges, scored, [("a", "b")], fold=0)
    assert row["num_battles"] == 3
    with pytest.raises(ScoreboardError, match="a: 1 of 4 battles have no prediction"):
        compare_judges(judges, battles(4), [("a", "b")], fold=0)


def test_no_pairs_no_rows():
    assert compare_judges({}, battles(3), [], fold=0) == []


def test_any_two_judges_are_compared_and_each_is_read_once(monkeypatch):
    draws = np.random.default_rng(0)
    right = {f"judge {number}": draws.random(60) < 0.5 + number / 10 for number in range(4)}
    judges = {name: predictions(credits) for name, credits in right.items()}
    read = []

    def watched(table):
        read.append(len(table))
        return probabilities_by_row(table)

    monkeypatch.setattr(comparisons, "probabilities_by_row", watched)
    pairs = list(combinations(judges, 2))
    rows = compare_judges(judges, battles(60), pairs, fold=0)
    assert [(row["first"], row["second"]) for row in rows] == pairs
    assert read == [120] * 4
    assert [row["difference"] for row in rows] == pytest.approx([right[a].mean() - right[b].mean() for a, b in pairs])


def test_the_other_way_round_the_difference_has_the_other_sign():
    draws = np.random.default_rng(0)
    judges = {name: predictions(draws.random(60) < 0.6) for name in ("a", "b")}
    there, back, self = compare_judges(judges, battles(60), [("a", "b"), ("b", "a"), ("a", "a")], fold=0)
    assert there["difference"] == -back["difference"] != 0
    assert there["difference_low"] == pytest.approx(-back["difference_high"])
    assert there["p_value"] == back["p_value"] < 1
    assert (self["difference"], self["p_value"]) == (0, 1)


def test_the_mirror_image_of_a_judge_is_no_better_on_undecided_votes():
    undecided = battles(50).assign(probability_a=0.5, probability_b=0.5)
    right = np.random.default_rng(0).random(50) < 0.6
    (row,) = compare_judges({"a": predictions(right), "b": predictions(~right)}, undecided, [("a", "b")], fold=0)
    assert (row["difference"], row["num_first_better"], row["num_second_better"], row["p_value"]) == (0, 0, 0, 1)
