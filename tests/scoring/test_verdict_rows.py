"""Verdicts and baselines on test pairs whose votes are known."""

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.scoring.scoreboard import ScoreboardError, baseline_rows_on_test_pairs, known_votes, verdict_rows

NUM = 40
NO_TRUTH = pd.DataFrame()


def pairs_of(num: int = NUM) -> pd.DataFrame:
    ids = [f"t{number}" for number in range(num)]
    texts = {"prompt": "p", "response_a": "long answer", "response_b": "short"}
    return pd.DataFrame({"id": ids, "pair_id": [f"{number:032x}" for number in range(num)], **texts, "language": "en"})


def truth_of(winners: list[str]) -> pd.DataFrame:
    frame = {"id": [f"t{number}" for number in range(len(winners))], "winner": winners, "probability_a": 0.75}
    return pd.DataFrame(frame | {"flaw_a": "none", "flaw_b": "none"})


def verdicts_of(probabilities: np.ndarray) -> pd.DataFrame:
    winners = np.where(probabilities[:, 0] >= probabilities[:, 1], "model_a", "model_b")
    frame = {"probability_a": probabilities[:, 0], "probability_b": probabilities[:, 1], "winner": winners}
    return pairs_of(len(probabilities))[["id", "pair_id"]].assign(**frame)


def test_verdicts_of_a_judge_that_knows_ties_are_asked_for_the_winner():
    winners = ["model_a", "model_b"] * (NUM // 2)
    likely = np.where(np.array(winners)[:, None] == ["model_a", "model_b"], 0.40, 0.25)  # the rest is a tie's
    votes = known_votes(pairs_of(), truth_of(winners))
    (row,) = verdict_rows(verdicts_of(likely), votes, stage="submission", judge="student")
    assert row["accuracy"] == 1
    assert row["log_loss"] == pytest.approx(-np.log(0.40 / 0.65))
    assert (row["stage"], row["judge"], row["dataset"], row["num_pairs"]) == (
        "submission",
        "student",
        "test_pairs",
        NUM,
    )


def test_verdicts_that_no_judge_gave_count_as_barely_likelier():
    verdicts = verdicts_of(np.full((NUM, 2), 0.5)).assign(probability_a=np.nan, probability_b=np.nan, winner="model_a")
    votes = known_votes(pairs_of(), truth_of(["model_a"] * 30 + ["model_b"] * 10))
    (row,) = verdict_rows(verdicts, votes, stage="submission", judge="student")
    assert row["accuracy"] == 0.75
    assert row["log_loss"] == pytest.approx(-0.75 * np.log(0.51) - 0.25 * np.log(0.49))


def test_verdicts_are_joined_by_id_and_a_missing_one_is_refused():
    votes = known_votes(pairs_of(), truth_of(["model_a"] * NUM))
    verdicts = verdicts_of(np.tile([0.9, 0.1], (NUM, 1))).sample(frac=1, random_state=1)
    assert verdict_rows(verdicts, votes, stage="s", judge="j")[0]["accuracy"] == 1
    with pytest.raises(ScoreboardError, match="1 of 40 battles have no prediction"):
        verdict_rows(verdicts[1:], votes, stage="s", judge="j")


def test_without_votes_there_are_no_rows():
    votes = known_votes(pairs_of(), NO_TRUTH)
    assert votes.empty
    assert verdict_rows(verdicts_of(np.full((NUM, 2), 0.5)), votes, stage="s", judge="j") == []
    assert baseline_rows_on_test_pairs(pd.DataFrame(), votes, fold=0) == []


def test_a_test_table_with_winners_is_its_own_truth():
    labelled = pairs_of(3).assign(winner=["model_b", "tie", "model_a"])
    for truth in (NO_TRUTH, truth_of(["model_a"] * 3)):
        votes = known_votes(labelled, truth)
        assert votes[["id", "probability_a", "probability_b"]].to_numpy().tolist() == [["t0", 0, 1], ["t2", 1, 0]]


def test_baselines_that_learnt_from_ties_still_sum_to_one():
    battles = pd.DataFrame(
        {
            "battle_id": [f"b{number}" for number in range(30)],
            "pair_id": [f"{number:032x}" for number in range(30)],
            "fold": 1,
            "prompt": "p",
            "response_a": [f"word{number} long" for number in range(30)],
            "response_b": [f"other{number}" for number in range(30)],
            "probability_a": [1.0, 0.0, 0.0] * 10,
            "probability_b": [0.0, 1.0, 0.0] * 10,
            "probability_tie": [0.0, 0.0, 1.0] * 10,
        }
    )
    votes = known_votes(pairs_of(), truth_of(["model_a", "model_b"] * (NUM // 2)))
    rows = {row["judge"]: row for row in baseline_rows_on_test_pairs(battles, votes, fold=0, dataset="test_pairs")}
    assert rows["majority"]["log_loss"] == pytest.approx(np.log(2))
    assert set(rows) == {"longer_wins", "majority", "tfidf"}
