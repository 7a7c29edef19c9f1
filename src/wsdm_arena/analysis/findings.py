"""Sentences that the numbers say by themselves, one a question; plain text, names in it as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from wsdm_arena.analysis.datasets import TableSummary
from wsdm_arena.analysis.figures.comparisons import SIGNIFICANCE, adjusted_p_values
from wsdm_arena.analysis.figures.learning import smoothed
from wsdm_arena.analysis.figures.names import (
    CEILING,
    SUBMISSION_STAGE,
    dataset_of,
    held_out_dataset,
    is_baseline,
    is_ceiling,
    is_start,
    kind_and_value,
    kind_name,
    plain,
    training_name,
    value_name,
)
from wsdm_arena.analysis.figures.theme import interval, p_text, percent, points
from wsdm_arena.analysis.tables import CascadeAnalysis, JudgeAnalysis
from wsdm_arena.scoring.scoreboard import ScoreboardRow, slice_of

NO_JUDGE = "No judge has been scored on battles that it has not seen, so nothing here says how good one is."


def best_honest(rows: Sequence[ScoreboardRow]) -> ScoreboardRow | None:
    """The most accurate judge on the held-out battles, of those that have not been trained on them."""
    dataset = held_out_dataset([row for row in rows if not row["seen_in_training"]])
    honest = [
        row
        for row in rows
        if row["dataset"] == dataset and not (is_baseline(row) or is_start(row) or row["seen_in_training"])
    ]
    return max(honest, key=lambda row: row["accuracy"], default=None)


def baselines_beside(row: ScoreboardRow, rows: Sequence[ScoreboardRow]) -> list[ScoreboardRow]:
    """Baselines on the same battles, the ceiling among them, the best first."""
    beside = [other for other in rows if is_baseline(other) and other["dataset"] == row["dataset"]]
    return sorted(beside, key=lambda other: -other["accuracy"])


def headline(rows: Sequence[ScoreboardRow]) -> list[str]:
    """Say how good the best honest judge is, against what, and how far it can be trusted: three sentences."""
    best = best_honest(rows)
    if best is None:
        return [NO_JUDGE]
    beside = baselines_beside(best, rows)
    rules = [row for row in beside if not is_ceiling(row)]
    ceilings = [row for row in beside if is_ceiling(row)]
    first = (
        f"The best judge that has not seen the held-out battles, {_name(best)}, names the answer that people preferred "
        f"in {percent(best['accuracy'])} of {best['num_pairs']:,} of them "
        f"({interval(best['accuracy_low'], best['accuracy_high'])})."
    )
    parts = []
    if rules:
        parts.append(
            f"the best rule without a language model, {_name(rules[0])}, reaches {percent(rules[0]['accuracy'])}"
        )
    if ceilings:
        parts.append(
            f"knowing every voter's mind would give {percent(ceilings[0]['accuracy'])}, because votes are noisy"
        )
    second = "; ".join(parts) if parts else "there is no baseline to compare it with"
    return [first, second[0].upper() + second[1:] + ".", _trust(best)]


def _trust(best: ScoreboardRow) -> str:
    error = f"its probabilities are off by {100 * best['ece']:.1f} points on average"
    if best["flip_rate"] is None:
        return error[0].upper() + error[1:] + "; it read each pair in one order only."
    return f"When the two answers change places it changes {percent(best['flip_rate'])} of its verdicts, and {error}."


def accuracy_finding(rows: Sequence[ScoreboardRow]) -> str:
    """What stands between the best judge, the rules and the ceiling."""
    best = best_honest(rows)
    if best is None:
        return NO_JUDGE
    beside = {training_name(row): row for row in baselines_beside(best, rows)}
    rules = [row for row in beside.values() if not is_ceiling(row)]
    parts = []
    if rules:
        parts.append(f"{points(best['accuracy'] - rules[0]['accuracy'])} points against {_name(rules[0])}")
    if CEILING in beside:
        parts.append(f"{points(best['accuracy'] - beside[CEILING]['accuracy'])} against the ceiling")
    sentence = f"{_name(best)} stands at {', '.join([percent(best['accuracy']), *parts])}."
    cascades = [row for row in rows if row["stage"] == SUBMISSION_STAGE and not slice_of(row)]
    if cascades:
        row = max(cascades, key=lambda row: (row["num_pairs"], row["accuracy"]))
        sentence += (
            f" On {row['num_pairs']:,} test pairs the {plain(row['judge'])} cascade is right in {percent(row['accuracy'])}"
            f" ({interval(row['accuracy_low'], row['accuracy_high'])})."
        )
    return sentence


def slices_finding(rows: Sequence[ScoreboardRow]) -> str:
    """Where the best judge is at its best and at its worst."""
    best = best_honest(rows)
    if best is None:
        return NO_JUDGE
    of_best = [
        row
        for row in rows
        if slice_of(row) and training_name(row) == training_name(best) and dataset_of(row) == best["dataset"]
    ]
    kinds = dict.fromkeys(kind_and_value(row)[0] for row in of_best)
    if not kinds:
        return "No part of the battles is large enough to be looked at by itself."
    kind = "language" if "language" in kinds else next(iter(kinds))
    parts = [row for row in of_best if kind_and_value(row)[0] == kind]
    high, low = (choose(parts, key=lambda row: row["accuracy"]) for choose in (max, min))
    if high is low:
        return f"By {kind_name(kind)} there is only one part that is large enough: {_part(kind, high)}."
    apart = high["accuracy_low"] > low["accuracy_high"]
    verdict = "more than their intervals explain" if apart else "their intervals overlap"
    return (
        f"By {kind_name(kind)}, {_name(best)} is right most often for {_part(kind, high)} and least often for "
        f"{_part(kind, low)}: {verdict}."
    )


def _part(kind: str, row: ScoreboardRow) -> str:
    value = plain(value_name(kind, kind_and_value(row)[1]))
    return f"{value} ({percent(row['accuracy'])} of {row['num_pairs']:,})"


def calibration_finding(analysis: JudgeAnalysis | None) -> str:
    """What the temperature does to a judge."""
    if analysis is None:
        return NO_JUDGE
    of = analysis["calibration"]
    change = "halves" if of["after"]["ece"] < of["before"]["ece"] / 2 else "lowers"
    change = change if of["after"]["ece"] < of["before"]["ece"] else "does not lower"
    return (
        f"A temperature of {of['temperature']:.2f} {change} the calibration error of {_name(analysis)}: ECE "
        f"{of['before']['ece']:.3f} → {of['after']['ece']:.3f}, log loss {of['before']['log_loss']:.3f} → "
        f"{of['after']['log_loss']:.3f} nats, on {of['num_judged']:,} battles that the temperature was not fitted on."
    )


def swap_finding(analysis: JudgeAnalysis | None) -> str:
    """How much the order matters to a judge."""
    if analysis is None:
        return NO_JUDGE
    swap = analysis["swap"]
    if swap is None:
        return f"{_name(analysis)} read each pair in one order only."
    first = swap["first_shown"]
    leaning = (
        "no side" if first["low"] <= 0.5 <= first["high"] else ("the first" if first["value"] > 0.5 else "the second")
    )
    return (
        f"{_name(analysis)} changes {percent(swap['flip_rate']['value'])} of its verdicts "
        f"({interval(swap['flip_rate']['low'], swap['flip_rate']['high'])}) when the answers change places, and names the "
        f"one that is shown first in {percent(first['value'])} of its readings: it favours {leaning}."
    )


def length_finding(analysis: JudgeAnalysis | None) -> str:
    """Whether a judge likes long answers more than people do."""
    if analysis is None:
        return NO_JUDGE
    of = analysis["length"]
    longer, shorter = of["accuracy_longer_won"]["value"], of["accuracy_shorter_won"]["value"]
    return (
        f"{_name(analysis)} names the longer answer in {percent(of['names_longer']['value'])} of battles, people prefer "
        f"it in {percent(of['longer_won']['value'])}; it is right in {percent(longer)} of battles that the longer answer "
        f"won and in {percent(shorter)} of those that the shorter one won ({points(longer - shorter)} points)."
    )


def abstention_finding(analysis: JudgeAnalysis | None) -> str:
    """What a judge gains by leaving half of the battles alone."""
    if analysis is None or not analysis["abstention"]["points"]:
        return NO_JUDGE
    curve = analysis["abstention"]["points"]
    half = min(curve, key=lambda point: abs(point["coverage"] - 0.5))
    return (
        f"If {_name(analysis)} answers only the {percent(half['coverage'], digits=0)} of battles that it is surest of "
        f"(from {percent(half['confidence'], digits=0)} on), {percent(half['risk'])} of its verdicts are wrong, instead "
        f"of {percent(curve[-1]['risk'])} of all."
    )


def cascade_finding(cascades: Sequence[CascadeAnalysis]) -> str:
    """What the second judge buys, a sentence a cascade."""
    sentences = []
    for cascade in cascades:
        curve, used = cascade["points"], cascade["in_use"]
        if not curve or used is None or len(cascade["judges"]) < 2:
            continue
        first, second = (plain(name) for name in cascade["judges"][:2])
        sentences.append(
            f"{plain(cascade['stage']).capitalize()}: {first} alone is right in {percent(curve[0]['accuracy']['value'])}; "
            f"with {second} reading {percent(used['share'])} of pairs, too, {percent(used['accuracy']['value'])}; with "
            f"both reading everything {percent(curve[-1]['accuracy']['value'])}."
        )
    return " ".join(sentences) or "No cascade of two judges has been analysed."


def comparison_finding(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """How many differences are real, and which is the largest."""
    real = [row for row, p in zip(comparisons, adjusted_p_values(comparisons), strict=True) if p < SIGNIFICANCE]
    if not comparisons:
        return "There are no two judges to compare that have not seen the battles."
    sentence = f"Of {_count(len(comparisons), 'pair')} of judges, {len(real)} differ by more than chance explains."
    if real:
        row = max(real, key=lambda row: abs(row["difference"]))
        sides = (row["first"], row["second"]) if row["difference"] > 0 else (row["second"], row["first"])
        better, worse = map(plain, sides)
        by = f"{100 * abs(row['difference']):.1f} points, {p_text(row['p_value'])}"
        sentence += f" The largest of these: {better} is better than {worse} by {by}."
    return sentence


def training_finding(metrics: Mapping[str, pd.DataFrame]) -> str:
    """What the trainings took, and how far the loss fell."""
    logged = {name: table for name, table in metrics.items() if len(table) and "loss" in table}
    if not logged:
        return "No training has logged anything."
    tokens = sum(int(table["tokens"].iloc[-1]) for table in logged.values() if "tokens" in table)
    seconds = sum(float(table["elapsed_s"].iloc[-1]) for table in logged.values() if "elapsed_s" in table)
    falls = {name: smoothed(table["loss"].dropna()) for name, table in logged.items()}
    name = max(falls, key=lambda name: float(falls[name].iloc[0] - falls[name].iloc[-1]))
    return (
        f"{_count(len(logged), 'training')} read {tokens:,} tokens in {_duration(seconds)}; the loss fell most for "
        f"{plain(name)}, from {falls[name].iloc[0]:.3f} to {falls[name].iloc[-1]:.3f} nats."
    )


def data_finding(tables: Mapping[str, TableSummary]) -> str:
    """How much there was to learn from."""
    if not tables:
        return "Nothing is known about the tables."
    name = "battles" if "battles" in tables else next(iter(tables))
    table = tables[name]
    about = f" about {table['num_prompts']:,} prompts" if table["num_prompts"] else ""
    spread = f", in {_count(len(table['languages']), 'language')}" if table["languages"] else ""
    return f"{plain(name).capitalize()}: {table['num_rows']:,} rows{about}{spread}."


def _name(of: Any) -> str:
    return plain(training_name(of))


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"
