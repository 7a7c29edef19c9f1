"""Scripted judges and clocks for the order of events; tiny real judges for the verdicts."""

import gc
import json
import math
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig, TemplateConfig, TruncationConfig
from wsdm_arena.judging.cascade import CascadeResult, run_cascade
from wsdm_arena.judging.reading import CascadeJudge
from wsdm_arena.modeling.judge import JudgeModel, build_judge
from wsdm_arena.preferences.test_pairs import build_test_pairs
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.scoring.cascade import CascadeError, decide, differences
from wsdm_arena.scoring.predictor import TokenizedPairs, score_pairs
from wsdm_arena.simulation.backbones import BACKBONES

torch.set_num_threads(1)

WEIGHTS = {"first": 2.5, "second": 1.0}
COLUMNS = [
    "id", "pair_id", "winner", "probability_a", "probability_b", "difference_first", "difference_second", "decided_by",
]  # fmt: skip


@dataclass
class FakeClock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class FakeStore:
    """Row k in order "ab" reads (k, 0, 0, ...), in order "ba" (k, 1, 0, ...)."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths.astype(np.int32)

    def sequence(self, row: int, order: str) -> np.ndarray:
        sequence = np.zeros(self.lengths[row], dtype=np.int32)
        sequence[:2] = row, int(order == "ba")
        return sequence


@dataclass
class Script:
    """A judge whose differences are known, and what was asked of it."""

    name: str
    differences: np.ndarray
    lengths: np.ndarray
    clock: FakeClock = field(default_factory=FakeClock)
    seconds_per_batch: float = 1.0
    seconds_per_token: float = 0.0
    seconds_of_loading: float = 0.0
    log: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """In the order in which they were read."""
    batches: list[PackedBatch] = field(default_factory=list)
    orders: set[int] = field(default_factory=set)
    begun_at: list[float] = field(default_factory=list)

    @property
    def judge(self) -> CascadeJudge:
        number = len(self.differences)
        # not in the order of the table: keys must be joined
        order = np.random.default_rng(3).permutation(number)
        tokens = TokenizedPairs(
            pair_ids=np.array([key(row) for row in order], dtype=object),
            stores=(FakeStore(self.lengths),),  # type: ignore[arg-type]
            store_numbers=np.zeros(number, dtype=np.int16),
            rows=order.astype(np.int64),
            lengths=self.lengths[order].astype(np.int32),
            truncated=np.zeros(number, dtype=bool),
        )
        return CascadeJudge(self.name, tokens, self.open)

    @contextmanager
    def open(self) -> Iterator["Script"]:
        self.log.append(f"{self.name} loaded")
        self.clock.now += self.seconds_of_loading
        try:
            yield self
        finally:
            self.log.append(f"{self.name} freed")

    def read(self, batches):
        try:
            yield from self.answers(batches)
        finally:
            self.log.append(f"{self.name} at rest")

    def answers(self, batches):
        for batch in batches:
            self.begun_at.append(self.clock.now)
            self.clock.now += self.seconds_per_batch + self.seconds_per_token * batch.num_tokens
            starts = np.array(batch.boundaries[:-1])
            rows, swapped = (batch.input_ids.numpy()[starts + offset] for offset in (0, 1))
            self.rows += rows.tolist()
            self.orders |= set(swapped.tolist())
            self.batches.append(batch)
            shown = np.where(swapped == 1, -1, 1) * self.differences[rows]
            with np.errstate(divide="ignore"):
                yield torch.from_numpy(np.log(np.stack([1 + shown, 1 - shown], axis=1) / 2))


def key(row: int) -> str:
    return f"{row:032x}"


def table(number: int) -> pd.DataFrame:
    """Row k is pair k; B is longer in every third row, both are equally long in row 1."""
    responses_b = ["a much longer answer" if row % 3 == 0 else "b" for row in range(number)]
    if number > 1:
        responses_b[1] = "answer"
    return pd.DataFrame(
        {
            "id": [f"t{row}" for row in range(number)],
            "pair_id": [key(row) for row in range(number)],
            "response_a": ["answer"] * number,
            "response_b": responses_b,
        }
    )


def scripts(number: int = 40, **options) -> tuple[Script, Script]:
    draw = np.random.default_rng(0)
    clock, log = options.pop("clock", FakeClock()), []
    lengths = draw.integers(3, 30, number)
    return tuple(  # type: ignore[return-value]
        Script(name, draw.uniform(-0.999, 0.999, number), lengths, clock, log=log, **options)
        for name in ("first", "second")
    )


def run(first: Script, second: Script | None, pairs: pd.DataFrame | None = None, **options) -> CascadeResult:
    judges = [first.judge] if second is None else [first.judge, second.judge]
    pairs = table(len(first.differences)) if pairs is None else pairs
    return run_cascade(
        judges, pairs, **{"weights": WEIGHTS, "clock": first.clock, "max_tokens_per_batch": 60} | options
    )


def test_every_row_gets_the_winner_of_reading_all_rows_with_both_judges():
    first, second = scripts()
    result = run(first, second)
    verdicts, report = result.verdicts, result.report
    assert list(verdicts.columns) == COLUMNS
    assert verdicts["id"].tolist() == [f"t{row}" for row in range(40)]
    assert verdicts["winner"].tolist() == decide(first.differences, second.differences, (2.5, 1.0)).tolist()
    uncertain = np.abs(first.differences) < 0.4
    assert sorted(second.rows) == np.flatnonzero(uncertain).tolist()
    assert (verdicts["decided_by"] == "both").tolist() == uncertain.tolist()
    assert set(verdicts["decided_by"]) == {"both", "first"}
    assert verdicts["difference_second"].notna().tolist() == uncertain.tolist()
    np.testing.assert_allclose(verdicts["difference_first"], first.differences, atol=1e-6)
    mean = np.where(uncertain, (2.5 * first.differences + second.differences) / 3.5, first.differences)
    np.testing.assert_allclose(verdicts["probability_a"] - verdicts["probability_b"], mean, atol=1e-6)
    alone = np.where(first.differences >= 0, "model_a", "model_b")
    changed = int((verdicts["winner"].to_numpy() != alone).sum())
    assert changed > 0
    assert (report.summary.num_winners_changed, report.summary.num_read_twice) == (changed, int(uncertain.sum()))
    assert report.summary.share_at_compared_threshold == (np.abs(first.differences) < 0.8).mean()
    assert (report.num_left_by_clock, report.num_unreadable, report.num_fallback) == (0, 0, 0)


def test_the_first_judge_reads_every_pair_once_and_the_second_the_hardest_first():
    first, second = scripts()
    run(first, second)
    assert sorted(first.rows) == list(range(40))
    assert (first.orders, second.orders) == ({0}, {1})
    lengths = [batch.num_tokens / batch.num_segments for batch in first.batches]
    assert lengths == sorted(lengths, reverse=True)
    distances = np.abs(first.differences[second.rows])
    assert distances.tolist() == sorted(distances)
    for script in (first, second):
        assert all(batch.num_tokens <= 60 for batch in script.batches)
    # packed as full as the order allows: the next row would not have gone in
    starts = [sum(batch.num_segments for batch in second.batches[:n]) for n in range(1, len(second.batches))]
    for batch, start in zip(second.batches, starts, strict=False):
        assert batch.num_tokens + second.lengths[second.rows[start]] > 60


def test_a_sequence_beyond_the_budget_is_read_alone():
    first, second = scripts()
    run(first, second, max_tokens_per_batch=1)
    assert [batch.num_segments for batch in first.batches] == [1] * 40
    assert [batch.num_segments for batch in second.batches] == [1] * len(second.rows)


def test_a_wider_threshold_changes_no_winner_and_a_narrower_one_reads_less():
    verdicts, rows = {}, {}
    for threshold in (None, 0.8, 0.1):
        first, second = scripts()
        result = run(first, second, threshold=threshold)
        verdicts[threshold], rows[threshold] = result.verdicts, len(second.rows)
        assert result.report.threshold == (threshold or 0.4)
        assert result.report.decisive_threshold == 0.4
    assert rows[0.1] < rows[None] < rows[0.8]
    assert verdicts[None]["winner"].tolist() == verdicts[0.8]["winner"].tolist()
    assert verdicts[None]["probability_a"].tolist() != verdicts[0.8]["probability_a"].tolist()


def test_with_one_judge_the_cascade_is_that_judge():
    first, _ = scripts()
    result = run(first, None)
    assert result.verdicts["winner"].tolist() == np.where(first.differences >= 0, "model_a", "model_b").tolist()
    assert set(result.verdicts["decided_by"]) == {"first"}
    assert result.verdicts["difference_second"].isna().all()
    assert result.report.summary.num_selected == 0
    assert len(result.report.judges) == 1
    assert result.report.weights == {"first": 2.5}


def test_judges_are_loaded_once_each_and_freed_before_the_next():
    first, second = scripts()
    run(first, second)
    assert first.log == [f"{name} {what}" for name in WEIGHTS for what in ("loaded", "at rest", "freed")]


def test_a_judge_is_at_rest_before_it_is_freed_after_an_error_too():
    first, second = scripts()

    def interrupt(name: str, tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(first, second, on_batch=interrupt)
    assert first.log == ["first loaded", "first at rest", "first freed"]


def test_the_second_judge_is_not_loaded_for_nothing():
    first, second = scripts()
    first.differences = np.full(40, 0.9)
    result = run(first, second)
    assert first.log == ["first loaded", "first at rest", "first freed"]
    assert result.report.judges[1].num_pairs == 0


def test_nothing_to_judge_loads_nobody():
    first, second = scripts(0)
    result = run(first, second)
    assert first.log == []
    assert result.verdicts.empty
    assert list(result.verdicts.columns) == COLUMNS
    assert result.report.summary.num_rows == 0


def test_rows_that_share_a_pair_share_its_reading_and_each_get_a_verdict():
    first, second = scripts(10)
    again = table(4).assign(id=[f"again{row}" for row in range(4)])
    pairs = pd.concat([table(10), again]).sample(frac=1, random_state=0)
    result = run(first, second, pairs)
    assert sorted(first.rows) == list(range(10))
    assert len(result.verdicts) == 14
    assert result.report.num_pairs == 10
    assert result.report.summary.num_rows == 14
    assert result.verdicts["id"].tolist() == pairs["id"].tolist()
    by_id = result.verdicts.set_index("id")
    for row in range(4):
        assert by_id.loc[f"again{row}"].equals(by_id.loc[f"t{row}"])
    np.testing.assert_allclose(
        by_id.loc[[f"t{row}" for row in range(10)], "difference_first"], first.differences, atol=1e-6
    )


def test_a_table_in_another_order_gives_the_same_verdicts():
    results = {}
    for seed in (None, 1):
        first, second = scripts()
        pairs = table(40) if seed is None else table(40).sample(frac=1, random_state=seed)
        results[seed] = run(first, second, pairs).verdicts.set_index("id")
    columns = ["winner", "decided_by", "difference_first", "difference_second"]
    pd.testing.assert_frame_equal(results[None][columns], results[1].loc[results[None].index, columns])


@pytest.mark.parametrize("budget", [0.0, -1.0])
def test_without_time_nobody_is_loaded_and_the_longer_response_wins(budget, caplog):
    first, second = scripts(9)
    pairs = table(9)
    pairs.loc[4, ["response_a", "response_b"]] = [None, "b"]
    pairs.loc[5, ["response_a", "response_b"]] = ["", None]
    result = run(first, second, pairs, time_budget_s=budget)
    assert first.log == []
    expected = ["model_b" if row in (0, 3, 4, 6) else "model_a" for row in range(9)]
    assert result.verdicts["winner"].tolist() == expected
    assert set(result.verdicts["decided_by"]) == {"fallback"}
    assert result.verdicts[["probability_a", "probability_b"]].isna().all(axis=None)
    assert result.report.num_fallback == 9
    assert "no judge read 9 rows; there the longer response wins" in caplog.text


def num_batches(**options) -> tuple[int, int]:
    first, second = scripts(**options)
    run(first, second)
    return len(first.batches), len(second.batches)


@pytest.mark.parametrize("seconds_of_loading", [0.0, 0.5])
def test_whatever_the_budget_it_is_overrun_by_at_most_one_micro_batch(seconds_of_loading):
    """Every budget from nothing to more than enough; all micro-batches take one second."""
    by_first, by_second = num_batches()
    needed = by_first + by_second + 2 * seconds_of_loading
    assert by_first > 3
    assert by_second > 3
    for half_seconds in range(int(2 * needed) + 3):
        budget = half_seconds / 2
        first, second = scripts(seconds_of_loading=seconds_of_loading)
        result = run(first, second, time_budget_s=budget)
        begun = first.begun_at + second.begun_at
        assert all(moment < 100 + budget for moment in begun)
        assert result.report.seconds < max(budget, seconds_of_loading) + 1
        assert result.report.seconds == first.clock.now - 100
        assert (len(begun) == by_first + by_second) == (budget > needed - 1)
        assert_consistent(result, first, second)


def assert_consistent(result: CascadeResult, first: Script, second: Script) -> None:
    """Every row is decided by exactly those who read it."""
    read_first, read_second = (np.isin(np.arange(40), script.rows) for script in (first, second))
    decided_by = np.select([read_second, read_first], ["both", "first"], "fallback")
    assert result.verdicts["decided_by"].tolist() == decided_by.tolist()
    d1 = np.where(read_first, first.differences, np.nan)
    d2 = np.where(read_second, second.differences, np.nan)
    expected = decide(d1, d2, (2.5, 1.0))
    longer = np.where(np.arange(40) % 3 == 0, "model_b", "model_a")
    assert result.verdicts["winner"].tolist() == np.where(read_first, expected, longer).tolist()
    assert result.report.num_fallback == int((~read_first).sum())
    left = read_first & (np.abs(first.differences) < 0.4) & ~read_second
    assert result.report.num_left_by_clock == int(left.sum())


def test_exactly_enough_time_is_enough():
    by_first, by_second = num_batches()
    first, second = scripts()
    result = run(first, second, time_budget_s=float(by_first + by_second))
    assert result.report.num_left_by_clock == 0
    assert result.report.seconds == by_first + by_second


def test_what_the_clock_leaves_unread_is_what_the_first_judge_is_surest_of(caplog):
    by_first, _ = num_batches()
    first, second = scripts()
    result = run(first, second, time_budget_s=by_first + 2.0)
    assert len(second.batches) == 2
    left = result.verdicts.query("decided_by == 'first' and difference_first.abs() < 0.4")["difference_first"].abs()
    read = result.verdicts.query("decided_by == 'both'")["difference_first"].abs()
    assert left.min() >= read.max()
    assert result.report.num_left_by_clock == len(left) > 0
    assert f"the time budget of {by_first + 2.0} s left {len(left)} rows to the first judge alone" in caplog.text


def test_the_second_judge_is_not_loaded_when_loading_would_take_all_the_time_left():
    by_first, _ = num_batches()
    for spare, is_loaded in ((9.0, False), (11.0, True)):
        first, second = scripts(seconds_of_loading=10.0)
        result = run(first, second, time_budget_s=10.0 + by_first + spare)
        assert ("second loaded" in first.log) == is_loaded
        assert bool(second.rows) == is_loaded
        assert result.report.num_left_by_clock > 0


def test_a_slow_judge_with_a_real_clock_reads_no_more_than_the_time_allows():
    """A micro-batch takes at least 50 ms, so at most four can begin within 200 ms."""
    first, _ = scripts()

    class Slow:
        def read(self, batches):
            for logits in first.read(batches):
                time.sleep(0.05)
                yield logits

    @contextmanager
    def open_slowly():
        yield Slow()

    judge = CascadeJudge("first", first.judge.tokens, open_slowly)
    result = run_cascade([judge], table(40), time_budget_s=0.2, max_tokens_per_batch=30)
    assert len(first.batches) <= 4
    assert result.report.num_fallback == 40 - len(first.rows) > 0


def test_half_of_the_time_is_enough_for_most_pairs():
    """Lengths are skewed as those of answers are; the clock's time is proportional to tokens."""
    lengths = np.clip(np.random.default_rng(4).lognormal(4.5, 1.0, 500), 10, 3_000).astype(np.int64)
    first, _ = scripts(500, seconds_per_batch=0.0, seconds_per_token=1e-3)
    first.lengths = lengths
    budget = lengths.sum() * 1e-3 / 2
    result = run(first, None, time_budget_s=budget, max_tokens_per_batch=3_000)
    in_first_batch = first.batches[0].num_segments
    by_length = np.argsort(-lengths, kind="stable")
    assert sorted(first.rows[:in_first_batch]) == sorted(by_length[:in_first_batch])  # too large a one shows at once
    after = first.rows[in_first_batch:]
    assert lengths[after].max() <= np.delete(lengths, first.rows).min()
    assert len(first.rows) == result.report.judges[0].num_pairs > 0.7 * len(lengths)
    assert result.report.num_fallback == 500 - len(first.rows)
    longest_first = np.searchsorted(np.cumsum(lengths[by_length]), lengths.sum() / 2)
    assert longest_first < 0.25 * len(lengths)  # what they would have been otherwise


def test_enough_time_gives_the_micro_batches_of_no_limit():
    (unlimited, _), (limited, _) = scripts(), scripts()
    verdicts = run(unlimited, None).verdicts
    pd.testing.assert_frame_equal(run(limited, None, time_budget_s=1e6).verdicts, verdicts)
    segments = [[batch.num_segments for batch in script.batches] for script in (unlimited, limited)]
    assert segments[1] == segments[0][:1] + segments[0][:0:-1]


@pytest.mark.parametrize("broken", ["first", "second"])
def test_a_judge_without_finite_logits_is_an_error_and_no_submission_by_length(broken):
    first, second = scripts(300)
    script = {"first": first, "second": second}[broken]
    script.differences = np.full(300, np.nan)
    with pytest.raises(
        CascadeError, match=rf"{broken}: no finite logits for \d+ of the \d+ pairs.* bfloat16 or float32"
    ):
        run(first, second)
    assert len(script.rows) < 50  # after the first micro-batch: the rest could not change that
    assert first.log[-2:] == [f"{broken} at rest", f"{broken} freed"]


def test_one_pair_in_a_hundred_may_be_unreadable_and_no_more():
    for number, is_accepted in ((3, True), (4, False)):
        first, _ = scripts(300)
        first.differences[:number] = np.nan
        if is_accepted:
            assert run(first, None).report.num_unreadable == number
        else:
            with pytest.raises(CascadeError, match="first: no finite logits for 4 of the"):
                run(first, None)


def test_the_share_of_unreadable_pairs_is_of_those_that_the_clock_let_it_read():
    first, _ = scripts(300)
    first.differences[np.argsort(-first.lengths, kind="stable")[:2]] = np.nan  # both in the first micro-batch
    assert run(first, None).report.num_unreadable == 2
    first.rows.clear()
    with pytest.raises(CascadeError, match=r"no finite logits for 2 of the \d+ pairs"):
        run(first, None, time_budget_s=2.0)
    assert 0 < len(first.rows) < 200


def test_logits_that_are_not_finite_count_as_not_read(caplog):
    first, second = scripts(300)
    first.differences, second.differences = np.full(300, 0.2), np.full(300, -0.5)
    first.differences[[2, 5]] = np.nan
    first.differences[7], second.differences[[5, 7]] = -0.1, np.nan
    result = run(first, second)
    verdicts = result.verdicts
    assert second.rows[:2] == [2, 5]  # nobody knows less of them
    assert verdicts["decided_by"][[2, 5, 7]].tolist() == ["second", "fallback", "first"]
    assert verdicts["winner"][[2, 5, 7]].tolist() == ["model_b", "model_a", "model_b"]
    assert verdicts["probability_a"].isna().tolist() == [row == 5 for row in range(300)]
    assert (result.report.num_unreadable, result.report.num_fallback, result.report.num_left_by_clock) == (3, 1, 0)
    assert "no finite logits for 3 rows" in caplog.text


def test_the_report_is_json_and_counts_the_work():
    first, second = scripts(seconds_of_loading=2.0)
    told: list[tuple[str, int]] = []
    result = run(first, second, on_batch=lambda name, tokens: told.append((name, tokens)), time_budget_s=1e6)
    report = json.loads(json.dumps(result.report.to_dict()))
    works = {work["name"]: work for work in report["judges"]}
    for script in (first, second):
        tokens = sum(batch.num_tokens for batch in script.batches)
        assert works[script.name] == {
            "name": script.name,
            "seconds_loading": 2.0,
            "seconds_reading": float(len(script.batches)),
            "num_pairs": len(script.rows),
            "num_tokens": tokens,
            "num_micro_batches": len(script.batches),
        }
        assert sum(number for name, number in told if name == script.name) == tokens
    assert report["share_read_twice"] == len(second.rows) / 40
    assert report["weights"] == WEIGHTS
    assert report["seconds"] == 4.0 + len(told)


def test_judges_and_tables_that_make_no_cascade_are_refused_before_anything_is_loaded():
    first, second = scripts()
    pairs = table(40)
    both = [first.judge, second.judge]
    for judges in ([], [*both, first.judge], [first.judge, first.judge]):
        with pytest.raises(CascadeError, match="one or two judges with different names"):
            run_cascade(judges, pairs)
    with pytest.raises(CascadeError, match="none of them 'both' or 'fallback'"):
        run_cascade([CascadeJudge("both", first.judge.tokens, first.open)], pairs)
    with pytest.raises(CascadeError, match=r"lacks the columns \['response_b'\]"):
        run_cascade(both, pairs.drop(columns="response_b"))
    with pytest.raises(CascadeError, match="1 ids stand in the test table again, such as 't0'"):
        run_cascade(both, pairs.assign(id=["t0", *pairs["id"][:-1]]))
    with pytest.raises(CascadeError, match="the first must be above 0"):
        run_cascade(both, pairs, weights={"first": 0.0})
    few = first.judge.tokens.take(np.arange(30))
    with pytest.raises(CascadeError, match="second: there are no tokens for 10 of 40 pairs"):
        run_cascade([first.judge, CascadeJudge("second", few, second.open)], pairs)
    assert first.log == []


TEMPLATE = TemplateConfig(
    instruction="Judge.",
    battle_start="",
    prompt_heading="Q",
    response_a_heading="A",
    response_b_heading="B",
    battle_end="",
    verdict_prefix="[[",
)
TRUNCATION = TruncationConfig.model_validate(
    {
        "max_battle_tokens": 96,
        "marker": "~",
        "per_field": {"max_prompt_tokens": 16, "max_response_tokens": 32},
        "shared_budget": {"reserved_tokens": 8, "max_prompt_tokens": 16},
    }
)


def load_tiny(family: str) -> JudgeModel:
    """A committed backbone with a random head, an instance of its own each time."""
    seed = {"gemma": 0, "llama": 1}[family]
    return build_judge(
        BACKBONES / family, head=HeadConfig(dropout=0.0), num_classes=2, attention="segments", head_seed=seed
    )


@dataclass(frozen=True)
class Tiny:
    pairs: pd.DataFrame
    stores: dict[str, Path]
    margins: dict[str, tuple[float, float]]
    """Mean and spread of the difference of a random head's logits."""

    def load(self, family: str) -> JudgeModel:
        """A judge whose head is shifted and stretched until it is unsure of some pairs and sure of others."""
        judge, (mean, spread) = load_tiny(family), self.margins[family]
        with torch.no_grad():
            judge.head.output.bias[0] -= mean
            judge.head.output.weight.mul_(1.5 / spread)
            judge.head.output.bias.mul_(1.5 / spread)
        return judge

    def judges(self, *families: str, devices: tuple[str, ...] = ("cpu",)) -> list[CascadeJudge]:
        return [
            CascadeJudge.from_store(
                family, lambda family=family: self.load(family), self.stores[family], devices=devices
            )
            for family in families
        ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    """120 rows, among them null and empty texts, control tokens, and pairs that stand there twice."""
    draw = np.random.default_rng(0)
    words = np.array(
        ["yes", "no", "seven", "the", "sum", "is", "wrong", "maybe", "Привет", "世界", "<bos>", "</s>", "42"]
    )
    texts = [[" ".join(draw.choice(words, draw.integers(1, 25))) for _ in range(3)] for _ in range(110)]
    texts[3], texts[4], texts[5] = [None, None, None], ["", "", ""], ["q", None, ""]
    rows = texts + texts[:10]
    raw = pd.DataFrame(rows, columns=["prompt", "response_a", "response_b"])
    pairs = build_test_pairs(raw.assign(id=range(len(raw)))).test_pairs
    root = tmp_path_factory.mktemp("tokens")
    stores = {
        family: build_token_store(
            pairs,
            table="test_pairs",
            tokenizer_dir=BACKBONES / family,
            template=TEMPLATE,
            system_role=family == "llama",
            truncation=TRUNCATION,
            policy="shared_budget",
            root=root / family,
        )
        for family in ("gemma", "llama")
    }
    margins = {}
    for family, order in (("gemma", "ab"), ("llama", "ba")):
        logits = np.stack(read_all(load_tiny(family), stores[family], pairs, order)["logits"])
        margin = logits[:, 0] - logits[:, 1]
        margins[family] = float(margin.mean()), float(margin.std())
    return Tiny(pairs, stores, margins)


def read_all(judge: JudgeModel, store: Path, pairs: pd.DataFrame, order: str) -> pd.DataFrame:
    """What the predictor that scores everything else says of every row, in the order of the table."""
    opened = TokenStore.open(store)
    ids = pairs["pair_id"].unique().tolist()
    tokens = TokenizedPairs.look_up(ids, ["t"] * len(ids), {"t": opened})
    scored = score_pairs(judge.eval(), tokens, max_tokens=500, device="cpu", orders=(order,))
    assert scored is not None
    return pairs[["pair_id"]].merge(scored, on="pair_id", how="left", validate="many_to_one")


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_tiny_judges_give_the_winners_of_scoring_every_row_with_both(tiny, devices):
    result = run_cascade(
        tiny.judges("gemma", "llama", devices=devices), tiny.pairs, weights={"gemma": 2.5}, max_tokens_per_batch=400
    )
    d1, d2 = (
        differences(np.stack(read_all(tiny.load(family), tiny.stores[family], tiny.pairs, order)["probabilities"]))
        for family, order in (("gemma", "ab"), ("llama", "ba"))
    )
    verdicts, summary = result.verdicts, result.report.summary
    assert verdicts["winner"].tolist() == decide(d1, d2, (2.5, 1.0)).tolist()
    np.testing.assert_allclose(verdicts["difference_first"], d1, atol=1e-5)
    read = verdicts["difference_second"].notna().to_numpy()
    np.testing.assert_allclose(verdicts["difference_second"][read], d2[read], atol=1e-5)
    assert read.tolist() == (np.abs(d1) < 0.4).tolist()
    assert len(verdicts) == 120
    assert result.report.num_pairs == 110
    assert 0 < summary.num_read_twice < 120
    assert summary.share_read_twice < summary.share_at_compared_threshold
    assert summary.num_winners_changed > 0


def test_a_split_judge_within_a_time_budget_begins_no_micro_batch_too_late(tiny):
    """The clock moves on with every micro-batch that begins; the second that is under way may still be read."""
    lengths = TokenStore.open(tiny.stores["gemma"]).lengths
    seconds = FakeClock(0.0)
    (judge,) = tiny.judges("gemma", devices=("cpu", "cpu"))
    store = judge.tokens.stores[0]

    class Counting:
        def sequence(self, row: int, order: str) -> np.ndarray:
            seconds.now += 1.0
            return store.sequence(row, order)

    tokens = TokenizedPairs(
        judge.tokens.pair_ids,
        (Counting(),),
        *(  # type: ignore[arg-type]
            getattr(judge.tokens, name) for name in ("store_numbers", "rows", "lengths", "truncated")
        ),
    )
    result = run_cascade(
        [CascadeJudge("gemma", tokens, judge.open)],
        tiny.pairs,
        time_budget_s=7.0,
        clock=seconds,
        max_tokens_per_batch=1,
    )
    assert seconds.now == 7.0
    assert result.report.judges[0].num_pairs == 7
    read = result.verdicts.query("decided_by == 'gemma'")
    assert read["pair_id"].nunique() == 7
    assert result.report.judges[0].num_tokens == lengths.max() + np.sort(lengths)[:6].sum()
    assert result.report.num_fallback == 120 - len(read)


def test_real_judges_are_freed_before_the_next_is_loaded(tiny):
    alive: list[weakref.ref] = []
    at_loading: list[int] = []

    def load(family: str) -> JudgeModel:
        at_loading.append(sum(reference() is not None for reference in alive))
        judge = tiny.load(family)
        alive.append(weakref.ref(judge.backbone.embed_tokens.weight))
        return judge

    judges = [
        CascadeJudge.from_store(family, lambda family=family: load(family), tiny.stores[family], devices=("cpu", "cpu"))
        for family in ("gemma", "llama")
    ]
    run_cascade(judges, tiny.pairs, threshold=1.0, max_tokens_per_batch=1000)
    gc.collect()
    assert at_loading == [0, 0]
    assert [reference() for reference in alive] == [None, None]


def test_an_error_while_reading_frees_the_judge_and_leaves_no_thread(tiny):
    alive: list[weakref.ref] = []

    def load() -> JudgeModel:
        judge = tiny.load("gemma")
        alive.append(weakref.ref(judge.backbone.embed_tokens.weight))
        return judge

    def interrupt(name: str, tokens: int) -> None:
        raise KeyboardInterrupt

    judge = CascadeJudge.from_store("gemma", load, tiny.stores["gemma"], devices=("cpu", "cpu"))
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_cascade([judge], tiny.pairs, max_tokens_per_batch=100, on_batch=interrupt)
    assert threading.active_count() == threads
    gc.collect()
    assert alive[0]() is None


def test_the_shares_say_what_the_threshold_of_the_ratio_saves():
    """Differences spread evenly: below 0.4 lie 40 % of the rows, below 0.8 twice as many."""
    first, second = scripts(400)
    first.differences = np.linspace(-0.999, 0.999, 400)
    summary = run(first, second).report.summary
    assert math.isclose(summary.share_read_twice, 0.4, abs_tol=0.01)
    assert math.isclose(summary.share_at_compared_threshold, 0.8, abs_tol=0.01)
