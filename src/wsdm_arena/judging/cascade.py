"""Two judges over a test table, one after the other in memory, within a time budget.

The first judge reads every pair in order "ab", longest first, so that a micro-batch too large for the device shows at
once; within a time budget the shortest follow the first micro-batch, so that the clock leaves as few pairs unread as it
can. The second reads the pairs whose winner it can still change in order "ba", the most uncertain first, so that the
clock leaves those unread that it would change least. Rules of the decision: :mod:`wsdm_arena.scoring.cascade`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsdm_arena.batching.planner import IntArray, plan_scoring
from wsdm_arena.judging.reading import Budget, CascadeJudge, JudgeWork, Reading, align_tokens, read_in_time
from wsdm_arena.scoring.cascade import (
    CascadeError,
    CascadeSummary,
    Weights,
    decide,
    decisive_threshold,
    mix_probabilities,
    resolve_threshold,
    select_uncertain,
)
from wsdm_arena.scoring.predictor import TokenizedPairs

logger = logging.getLogger(__name__)

BOTH, FALLBACK = "both", "fallback"
"""What a verdict's ``decided_by`` says beside the judges' names."""
_COLUMNS = ("id", "pair_id", "response_a", "response_b")


@dataclass(frozen=True)
class CascadeReport:
    """How a cascade went. Rows are those of the test table; judges read pairs, which rows may share."""

    judges: tuple[JudgeWork, ...]
    weights: dict[str, float]
    threshold: float
    """Below which the second judge was to read; 0 without one."""
    decisive_threshold: float
    """From which on it could not have changed a winner."""
    compare_with_threshold: float
    num_pairs: int
    summary: CascadeSummary
    num_left_by_clock: int
    """Rows that the second judge was to read and did not."""
    num_unreadable: int
    """Rows that a judge read and got no finite logits for; they count as not read by it."""
    num_fallback: int
    """Rows that no judge read: the longer response wins, of equal ones A."""
    seconds: float
    time_budget_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it, the summary's fields beside the others."""
        fields = asdict(self)
        summary = fields.pop("summary")
        return {**fields, "judges": list(fields["judges"]), **summary}


@dataclass(frozen=True)
class CascadeResult:
    """Verdicts and how they came about.

    Attributes:
        verdicts: A row for each of the test table, in its order: ``id``, ``pair_id``, ``winner`` (``model_a`` or
            ``model_b``), ``probability_a`` and ``probability_b`` (weighted mean of the judges that read it; null where
            none did), ``difference_first`` and ``difference_second`` (``p_a - p_b``; null where not read),
            ``decided_by`` ("both", a judge's name or "fallback").
        report: Counts and times.
        readings: What each judge said, a row for each of the test table; the second's is empty where there is one
            judge.
    """

    verdicts: pd.DataFrame
    report: CascadeReport
    readings: tuple[Reading, Reading]


def run_cascade(
    judges: Sequence[CascadeJudge],
    pairs: pd.DataFrame,
    *,
    weights: Mapping[str, float] | None = None,
    threshold: float | None = None,
    compare_with_threshold: float = 0.8,
    time_budget_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    start: float | None = None,
    max_tokens_per_batch: int = 8_192,
    on_batch: Callable[[str, int], None] | None = None,
) -> CascadeResult:
    """Judge every row of a test table.

    The clock is looked at before a judge is loaded and before each micro-batch, so the budget is overrun by at most one
    micro-batch (with layers split over n devices: by those under way, at most n), or by a loading that takes longer
    than the first did. What the clock leaves unread keeps the first judge's verdict; rows that it did not read either
    go to the longer response, of equal ones to A.

    Args:
        judges: One or two; with one, the cascade is that judge.
        pairs: The test table: ``id``, ``pair_id``, ``response_a``, ``response_b``; rows may share a ``pair_id``.
        weights: By judge; one that is not named has 1.
        threshold: The second judge reads pairs with ``|p_a - p_b|`` of the first below this; by default ``w2 / w1``,
            beyond which it cannot change the winner.
        compare_with_threshold: A threshold whose share of rows is reported beside the actual one.
        time_budget_s: Seconds from the call on, loading included; None for no limit.
        clock: In seconds, from any start.
        start: What the clock showed when the time began to run, preparations included; None: at the call.
        max_tokens_per_batch: Packed tokens of a micro-batch; a longer single sequence gets one of its own.
        on_batch: Told the judge's name and the number of tokens after each micro-batch.

    Raises:
        CascadeError: Judges, weights or threshold make no cascade, the table lacks a column or repeats an id, there are
            no tokens for a pair, or a judge gives no finite logits for more than
            :data:`~wsdm_arena.judging.reading.MAX_UNREADABLE_SHARE` of the pairs that it reads.
    """
    budget = Budget(clock, time_budget_s, start)
    pair_weights = _check(judges, pairs, weights or {})
    level = resolve_threshold(pair_weights, threshold) if len(judges) == 2 else 0.0
    pair_ids = pairs["pair_id"].unique()
    tokens = [align_tokens(judge, pair_ids) for judge in judges]  # before any work: they may be another table's
    first = read_first(judges[0], tokens[0], budget, max_tokens_per_batch=max_tokens_per_batch, on_batch=on_batch)
    second = Reading.none(len(pair_ids), judges[-1].name)
    if len(judges) == 2:
        options: dict[str, Any] = {"max_tokens_per_batch": max_tokens_per_batch, "on_batch": on_batch}
        second = read_second(judges[1], tokens[1], first, level, budget, **options)
    names = [judge.name for judge in judges]
    rows = pd.Index(pair_ids).get_indexer(pd.Index(pairs["pair_id"]))
    readings = (first.take(rows), second.take(rows))
    verdicts = state_verdicts(pairs, names, readings, pair_weights)
    report = CascadeReport(
        judges=(first.work, second.work)[: len(judges)],
        weights=dict(zip(names, pair_weights, strict=False)),
        threshold=level,
        decisive_threshold=decisive_threshold(pair_weights),
        compare_with_threshold=compare_with_threshold,
        num_pairs=len(pair_ids),
        **_count(readings, pair_weights, level, compare_with_threshold),
        num_fallback=int((verdicts["decided_by"] == FALLBACK).sum()),
        seconds=budget.elapsed(),
        time_budget_s=time_budget_s,
    )
    _log(report)
    return CascadeResult(verdicts, report, readings)


def read_first(
    judge: CascadeJudge,
    tokens: TokenizedPairs,
    budget: Budget,
    *,
    max_tokens_per_batch: int,
    on_batch: Callable[[str, int], None] | None = None,
    is_all: bool = True,
) -> Reading:
    """Have the first judge read pairs as they stand, longest first; see :func:`run_cascade`.

    Args:
        judge: The first.
        tokens: Of the pairs.
        budget: Time that is left.
        max_tokens_per_batch: Packed tokens of a micro-batch.
        on_batch: Told the judge's name and the number of tokens after each micro-batch.
        is_all: Whether these are all pairs that it reads; see :func:`~wsdm_arena.judging.reading.read_in_time`.

    Raises:
        CascadeError: It gives no finite logits for too many pairs.
    """
    by_length = list(plan_scoring(tokens.lengths, world_size=1, max_tokens=max_tokens_per_batch)[0])
    if budget.is_limited:
        by_length[1:] = by_length[:0:-1]
    return read_in_time(judge, tokens, "ab", by_length, budget, on_batch, is_all=is_all)


def read_second(
    judge: CascadeJudge,
    tokens: TokenizedPairs,
    first: Reading,
    threshold: float,
    budget: Budget,
    *,
    max_tokens_per_batch: int,
    on_batch: Callable[[str, int], None] | None = None,
    is_all: bool = True,
) -> Reading:
    """Have the second judge read exchanged what the first is unsure of, the most uncertain pairs first.

    Args:
        judge: The second.
        tokens: Of the same pairs as those of ``first``.
        first: What the first judge said.
        threshold: Of :func:`~wsdm_arena.scoring.cascade.resolve_threshold`.
        budget: Time that is left; with less than the first judge took to load, the second is not loaded.
        max_tokens_per_batch: Packed tokens of a micro-batch.
        on_batch: Told the judge's name and the number of tokens after each micro-batch.
        is_all: Whether these are all pairs that it reads; see :func:`~wsdm_arena.judging.reading.read_in_time`.

    Raises:
        CascadeError: It gives no finite logits for too many pairs.
    """
    plan = _cut(_hardest_first(first, threshold), tokens.lengths, max_tokens_per_batch)
    least = first.work.seconds_loading
    return read_in_time(judge, tokens, "ba", plan, budget, on_batch, least_seconds=least, is_all=is_all)


def _check(judges: Sequence[CascadeJudge], pairs: pd.DataFrame, weights: Mapping[str, float]) -> Weights:
    """Refuse what makes no cascade; both weights, 0 for a second judge that there is not."""
    names = [judge.name for judge in judges]
    if len(names) not in (1, 2) or len({*names, BOTH, FALLBACK}) != len(names) + 2:
        raise CascadeError(
            f"a cascade has one or two judges with different names, none of them {BOTH!r} or {FALLBACK!r}; got {names}"
        )
    if absent := [column for column in _COLUMNS if column not in pairs]:
        raise CascadeError(f"the test table lacks the columns {absent}; it has {list(pairs.columns)}")
    if (repeated := pairs["id"].duplicated()).any():
        example = pairs["id"][repeated].iloc[0]
        raise CascadeError(f"{int(repeated.sum())} ids stand in the test table again, such as {example!r}")
    given = [float(weights.get(name, 1.0)) for name in names]
    pair_weights = (given[0], given[1] if len(given) == 2 else 0.0)
    decisive_threshold(pair_weights)
    return pair_weights


def _hardest_first(first: Reading, threshold: float) -> IntArray:
    """Pairs for the second judge: those without finite logits, then by ``|d1|``; equal ones in the table's order."""
    distances = np.abs(first.differences)
    wanted = np.flatnonzero(select_uncertain(distances, threshold) & first.was_begun)
    return wanted[np.argsort(np.nan_to_num(distances[wanted], nan=-1.0), kind="stable")]


def _cut(order: IntArray, lengths: npt.NDArray[Any], max_tokens: int) -> list[IntArray]:
    """Cut positions, in their order, into micro-batches of at most ``max_tokens``, or of one longer sequence."""
    plan: list[IntArray] = []
    ends = np.concatenate([[0], np.cumsum(lengths[order], dtype=np.int64)])
    start = 0
    while start < order.size:
        end = int(np.searchsorted(ends, ends[start] + max_tokens, side="right")) - 1
        plan.append(order[start : max(end, start + 1)])
        start = max(end, start + 1)
    return plan


def _count(
    readings: tuple[Reading, Reading], weights: Weights, threshold: float, compared_threshold: float
) -> dict[str, Any]:
    """Fields of the report that the readings of all rows tell."""
    first, second = readings
    uncertain = select_uncertain(first.differences, threshold) & first.was_read
    unreadable = (first.was_begun & ~first.was_read) | (second.was_begun & ~second.was_read)
    return {
        "summary": CascadeSummary.of(
            first.differences,
            second.differences,
            weights=weights,
            threshold=threshold,
            compared_threshold=compared_threshold,
        ),
        "num_left_by_clock": int((uncertain & ~second.was_begun).sum()),
        "num_unreadable": int(unreadable.sum()),
    }


def state_verdicts(
    pairs: pd.DataFrame, names: Sequence[str], readings: tuple[Reading, Reading], weights: Weights
) -> pd.DataFrame:
    """Decide every row by what was read of it.

    Args:
        pairs: ``id``, ``pair_id``, ``response_a``, ``response_b``.
        names: Of the judges, one or two.
        readings: Of both judges, a row for each of ``pairs``.
        weights: Of both judges, 0 for a second that there is not.

    Returns:
        As :class:`CascadeResult` describes ``verdicts``.
    """
    first, second = readings
    winners = decide(first.differences, second.differences, weights)
    conditions = [first.was_read & second.was_read, first.was_read, second.was_read]
    decided_by = np.select(conditions, [BOTH, names[0], names[-1]], default=FALLBACK).astype(object)
    is_b_longer = _characters(pairs["response_b"]) > _characters(pairs["response_a"])
    unread = decided_by == FALLBACK
    winners[unread] = np.where(is_b_longer, "model_b", "model_a")[unread]
    probabilities = mix_probabilities(first.probabilities, second.probabilities, weights)
    verdicts = pairs[["id", "pair_id"]].reset_index(drop=True)
    return verdicts.assign(
        winner=pd.Series(winners, dtype="str"),
        probability_a=probabilities[:, 0],
        probability_b=probabilities[:, 1],
        difference_first=first.differences,
        difference_second=second.differences,
        decided_by=pd.Series(decided_by, dtype="str"),
    )


def _characters(texts: pd.Series) -> npt.NDArray[np.int64]:
    return np.array([len(text) if isinstance(text, str) else 0 for text in texts], dtype=np.int64)


def _log(report: CascadeReport) -> None:
    summary = report.summary
    logger.info(
        "cascade: %d rows in %.0f s; %.1f %% below %.3g read twice (below %.3g: %.1f %%), %d winners changed",
        summary.num_rows,
        report.seconds,
        100 * summary.share_read_twice,
        report.threshold,
        report.compare_with_threshold,
        100 * summary.share_at_compared_threshold,
        summary.num_winners_changed,
    )
    if report.num_left_by_clock:
        logger.warning(
            "cascade: the time budget of %s s left %d rows to the first judge alone, those it is surest of",
            report.time_budget_s,
            report.num_left_by_clock,
        )
    if report.num_unreadable:
        logger.warning("cascade: no finite logits for %d rows; does the dtype overflow?", report.num_unreadable)
    if report.num_fallback:
        logger.warning("cascade: no judge read %d rows; there the longer response wins", report.num_fallback)
