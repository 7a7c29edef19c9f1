"""``submission.csv``: one winner for every id that is asked for, or an error that says which ids are amiss."""

from collections.abc import Iterable

import pandas as pd

from wsdm_arena.errors import UserError
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_names

WINNERS = ("model_a", "model_b")
_SHOWN = 5


class SubmissionError(UserError, ValueError):
    """Verdicts, test pairs and sample submission do not go together."""


def build_submission(
    verdicts: pd.DataFrame, test_pairs: pd.DataFrame, sample_submission: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Answer the ids of the sample submission, in its order, or those of the test pairs where there is no sample.

    Ids are compared as texts, whole numbers without ``.0``, as the test pairs' are: a sample's numbers find them.

    Args:
        verdicts: ``id`` and ``winner``.
        test_pairs: ``id``.
        sample_submission: ``id``, and columns that are not read; None or a table without rows where there is none.

    Returns:
        ``id`` (texts) and ``winner``; every id exactly once.

    Raises:
        SubmissionError: The three do not name the same ids, an id stands in one of them twice, or a winner is neither
            ``model_a`` nor ``model_b``.
    """
    verdict_ids, wanted = _ids(verdicts, "verdicts"), _ids(test_pairs, "test pairs")
    _compare(verdict_ids, wanted, "verdicts", "test pairs")
    if sample_submission is not None and len(sample_submission):
        check_sample(test_pairs, sample_submission)
        wanted = _ids(sample_submission, "sample submission")
    winners = dict(zip(verdict_ids, _winners(verdicts), strict=True))
    return pd.DataFrame({"id": wanted, "winner": [winners[name] for name in wanted]}).astype("str")


def check_sample(test_pairs: pd.DataFrame, sample_submission: pd.DataFrame) -> None:
    """Make sure that a sample submission asks for the test pairs, before anything is judged.

    Raises:
        SubmissionError: They do not name the same ids, or the sample repeats one.
    """
    if len(sample_submission):
        _compare(
            _ids(test_pairs, "test pairs"),
            _ids(sample_submission, "sample submission"),
            "test pairs",
            "sample submission",
        )


def _ids(table: pd.DataFrame, name: str) -> list[str]:
    """The ids as texts.

    Raises:
        SubmissionError: There is no such column, or an id is null or there twice.
    """
    if "id" not in table:
        raise SubmissionError(f"{name}: there is no column 'id' among {list(table.columns)}")
    ids = clean_names(table["id"].reset_index(drop=True), RowReport(table))
    if nulls := ids.count(None):
        raise SubmissionError(f"{name}: {nulls} of {len(ids)} ids are empty, the first in row {ids.index(None) + 1}")
    texts = pd.Series(ids, dtype=object)
    if (repeated := texts.duplicated()).any():
        raise SubmissionError(f"{name}: {int(repeated.sum())} ids stand there again: {_listed(texts[repeated])}")
    return texts.to_list()


def _compare(found: list[str], wanted: list[str], found_in: str, wanted_by: str) -> None:
    """Make sure that two tables name the same ids, in whatever order."""
    missing, surplus = set(wanted) - set(found), set(found) - set(wanted)
    parts = []
    if missing:
        shown = _listed(name for name in wanted if name in missing)
        parts.append(f"{len(missing)} of {len(wanted)} ids of the {wanted_by} are not in the {found_in}: {shown}")
    if surplus:
        shown = _listed(name for name in found if name in surplus)
        parts.append(f"{len(surplus)} of {len(found)} ids of the {found_in} are not in the {wanted_by}: {shown}")
    if parts:
        raise SubmissionError("; ".join(parts) + "; do they belong to the same test table?")


def _winners(verdicts: pd.DataFrame) -> list[str]:
    if "winner" not in verdicts:
        raise SubmissionError(f"verdicts: there is no column 'winner' among {list(verdicts.columns)}")
    wrong = ~verdicts["winner"].isin(WINNERS)
    if wrong.any():
        row = verdicts[wrong].iloc[0]
        example = f"{row['winner']!r} of id {row['id']!r}"
        raise SubmissionError(
            f"verdicts: {int(wrong.sum())} winners are neither model_a nor model_b, such as {example}"
        )
    return verdicts["winner"].to_list()


def _listed(ids: Iterable[str]) -> str:
    names = list(ids)
    return ", ".join(map(repr, names[:_SHOWN])) + (" ..." if len(names) > _SHOWN else "")
