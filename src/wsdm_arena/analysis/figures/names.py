"""What things are called in figures, and in which order they stand; names are data and are shown as they are."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from wsdm_arena.config.lineup import TRAINING_TABLES
from wsdm_arena.scoring.scoreboard import BASELINE_STAGE, ScoreboardRow, slice_of, without_start

CEILING = "ceiling"
"""The baseline that knows what voters think: no judge can be expected to pass it."""
SUBMISSION_STAGE = "submission"
"""Stage under which the scoreboard has cascades."""
MAX_CHARACTERS = 40

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")
_KINDS = {
    "language": "language",
    "length": "difference in length",
    "models": "pair of models",
    "truncated": "cut to the length limit or not",
    "source": "source",
    "flaw": "flaw of the losing answer",
}


class OfTraining(Protocol):
    """Anything with a stage and a judge, as mappings have them."""

    def __getitem__(self, key: str, /) -> object: ...


def plain(value: object, *, limit: int = MAX_CHARACTERS) -> str:
    """A name on one line: without control characters and lone surrogates, cut where it is too long."""
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def label(value: object, *, limit: int = MAX_CHARACTERS) -> str:
    """A name as plotly shows it: what looks like markup is text."""
    return html.escape(plain(value, limit=limit), quote=False)


def training_name(of: OfTraining) -> str:
    """``student.gemma``; a baseline has no stage."""
    return str(of["judge"]) if of["stage"] == BASELINE_STAGE else f"{of['stage']}.{of['judge']}"


def stage_order(stage: str) -> tuple[int, str]:
    """Key to sort stages by: the recipe's order, then cascades, then what the recipe does not know."""
    known = [*TRAINING_TABLES, SUBMISSION_STAGE]
    return (known.index(stage), stage) if stage in known else (len(known), stage)


def is_start(row: ScoreboardRow) -> bool:
    """Whether a row is about what a training started from."""
    return without_start(row["stage"]) != row["stage"]


def is_baseline(row: ScoreboardRow) -> bool:
    """Whether a row is about a rule, not a judge."""
    return row["stage"] == BASELINE_STAGE


def is_ceiling(row: ScoreboardRow) -> bool:
    """Whether a row is about the best that can be expected."""
    return is_baseline(row) and row["judge"] == CEILING


def dataset_of(row: ScoreboardRow) -> str:
    """The whole that a slice is a part of: ``battles[fold 0]``."""
    return row["dataset"].removesuffix(slice_of(row)).strip()


def held_out_dataset(rows: Iterable[ScoreboardRow]) -> str | None:
    """The dataset that most judges are scored on, cascades apart; None where there is no judge."""
    counts: dict[str, int] = {}
    for row in rows:
        if not (slice_of(row) or is_baseline(row) or is_start(row) or row["stage"] == SUBMISSION_STAGE):
            counts[row["dataset"]] = counts.get(row["dataset"], 0) + 1
    return max(counts, key=lambda dataset: counts[dataset]) if counts else None


def best_of_each(accuracies: Sequence[tuple[str, str, float, bool]]) -> set[str]:
    """Choose what a crowded figure shows at first: of each judge the best training that is honest.

    Args:
        accuracies: Training, judge, accuracy, and whether it has seen the battles.

    Returns:
        Trainings, one a judge.
    """
    best: dict[str, tuple[bool, float, str]] = {}
    for training, judge, accuracy, seen in accuracies:
        best[judge] = max(best.get(judge, (False, -1.0, "")), (not seen, accuracy, training))
    return {training for _, _, training in best.values()}


def kind_and_value(row: ScoreboardRow) -> tuple[str, str]:
    """``("language", "en")`` of a slice."""
    kind, _, value = slice_of(row).partition("=")
    return kind, value


def kind_name(kind: str) -> str:
    """What battles are sliced by, in words."""
    return _KINDS.get(kind, label(kind))


def value_name(kind: str, value: str) -> str:
    """A slice in words, ``English`` of ``language=en``; not yet escaped."""
    if kind == "language":
        return language_name(value)
    if kind == "truncated":
        return {"True": "cut", "true": "cut", "yes": "cut"}.get(
            value, "whole" if value in ("False", "false", "no") else value
        )
    return value.removesuffix(" vs none") if kind == "flaw" else value


def language_name(code: str) -> str:
    """English name of a language's code; the code where it is none."""
    import langcodes  # with its tables a tenth of a second

    if not (2 <= len(code) <= 3 and code.isascii() and code.isalpha()):
        return code
    name = langcodes.get(code).display_name()
    return code if name.startswith("Unknown language") else name
