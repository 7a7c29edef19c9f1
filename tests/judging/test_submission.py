import pandas as pd
import pytest

from wsdm_arena.judging.submission import SubmissionError, build_submission

IDS = ["t3", "t1", "t2"]


@pytest.fixture
def verdicts() -> pd.DataFrame:
    return pd.DataFrame({"id": ["t1", "t2", "t3"], "winner": ["model_a", "model_b", "model_b"], "decided_by": "both"})


@pytest.fixture
def pairs() -> pd.DataFrame:
    return pd.DataFrame({"id": IDS, "prompt": "q"})


def sample(ids=("t2", "t3", "t1")) -> pd.DataFrame:
    return pd.DataFrame({"id": list(ids), "winner": "model_a"})


def rows(submission: pd.DataFrame) -> list[tuple[str, str]]:
    return list(submission.itertuples(index=False, name=None))


def test_rows_follow_the_sample_and_winners_their_ids(verdicts, pairs):
    submission = build_submission(verdicts, pairs, sample())
    assert list(submission.columns) == ["id", "winner"]
    assert rows(submission) == [("t2", "model_b"), ("t3", "model_b"), ("t1", "model_a")]


@pytest.mark.parametrize("nothing", [None, pd.DataFrame(), pd.DataFrame({"id": [], "winner": []}, dtype="str")])
def test_without_a_sample_rows_follow_the_test_table(verdicts, pairs, nothing):
    submission = build_submission(verdicts, pairs, nothing)
    assert rows(submission) == [("t3", "model_b"), ("t1", "model_a"), ("t2", "model_b")]


def test_numbers_are_the_same_ids_as_their_digits(tmp_path):
    verdicts = pd.DataFrame({"id": ["7", "12345678901"], "winner": ["model_b", "model_a"]})
    pairs = pd.DataFrame({"id": ["12345678901", "7"]})
    for ids in ([7, 12345678901], [7.0, 12345678901.0], ["7", "12345678901"]):
        submission = build_submission(verdicts, pairs, sample(ids))
        assert rows(submission) == [("7", "model_b"), ("12345678901", "model_a")]
    submission.to_csv(tmp_path / "submission.csv", index=False)
    assert (tmp_path / "submission.csv").read_text() == "id,winner\n7,model_b\n12345678901,model_a\n"


def test_ids_that_do_not_match_are_counted_and_named(verdicts, pairs):
    many = [f"x{number}" for number in range(8)]
    with pytest.raises(
        SubmissionError,
        match=r"8 of 9 ids of the sample submission are not in the test pairs: 'x0', 'x1', 'x2', 'x3', 'x4' \.\.\.; "
        r"2 of 3 ids of the test pairs are not in the sample submission: 't3', 't2'; do they belong",
    ):
        build_submission(verdicts, pairs, sample(["t1", *many]))


def test_a_test_row_without_verdict_is_an_error(verdicts, pairs):
    with pytest.raises(SubmissionError, match="1 of 3 ids of the test pairs are not in the verdicts: 't1'"):
        build_submission(verdicts.iloc[1:], pairs, sample())
    with pytest.raises(SubmissionError, match="1 of 3 ids of the verdicts are not in the test pairs: 't2'"):
        build_submission(verdicts, pairs.iloc[:2], None)


def test_ids_that_stand_there_twice_or_are_empty_are_errors(verdicts, pairs):
    with pytest.raises(SubmissionError, match="sample submission: 1 ids stand there again: 't2'"):
        build_submission(verdicts, pairs, sample(["t1", "t2", "t3", "t2"]))
    with pytest.raises(SubmissionError, match="verdicts: 3 ids stand there again"):
        build_submission(pd.concat([verdicts, verdicts]), pairs, sample())
    with pytest.raises(SubmissionError, match="test pairs: 1 of 3 ids are empty, the first in row 2"):
        build_submission(verdicts, pairs.assign(id=["t3", None, "t2"]), sample())
    with pytest.raises(SubmissionError, match="sample submission: there is no column 'id'"):
        build_submission(verdicts, pairs, sample().rename(columns={"id": "ID"}))


@pytest.mark.parametrize("winner", ["tie", "", None, "Model_A"])
def test_only_two_winners_are_allowed(verdicts, pairs, winner):
    wrong = verdicts.assign(winner=["model_a", winner, "model_b"])
    with pytest.raises(
        SubmissionError, match=r"verdicts: 1 winners are neither model_a nor model_b, such as .* of id 't2'"
    ):
        build_submission(wrong, pairs, sample())


def test_verdicts_without_a_winner_are_refused(verdicts, pairs):
    with pytest.raises(SubmissionError, match=r"verdicts: there is no column 'winner' among \['id', 'decided_by'\]"):
        build_submission(verdicts.drop(columns="winner"), pairs, sample())


def test_no_rows_give_an_empty_submission():
    empty = pd.DataFrame({"id": [], "winner": []}, dtype="str")
    submission = build_submission(empty, empty, None)
    assert submission.empty
    assert list(submission.columns) == ["id", "winner"]
