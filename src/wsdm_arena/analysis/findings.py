"""Sentences that the numbers say by themselves, one a question; plain text, names in it as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from wsdm_arena.analysis.datasets import TableSummary
from wsdm_arena.analysis.figures.comparisons import SIGNIFICANCE, adjusted_p_values
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
from wsdm_arena.scoring.scoreboard import NEW_PROMPTS, TEST_PAIRS, ScoreboardRow, slice_of

NO_JUDGE = "No judge has been scored on battles that it has not seen, so nothing here says how good one is."


def best_honest(rows: Sequence[ScoreboardRow]) -> ScoreboardRow | None:
    """The most accurate judge on the held-out battles, of those that have not been trained on them."""
    return max(honest_rows(rows), key=lambda row: row["accuracy"], default=None)


def honest_rows(rows: Sequence[ScoreboardRow]) -> list[ScoreboardRow]:
    """Judges on the held-out battles that have not been trained on them."""
    dataset = held_out_dataset([row for row in rows if not row["seen_in_training"]])
    return [
        row
        for row in rows
        if row["dataset"] == dataset and not (is_baseline(row) or is_start(row) or row["seen_in_training"])
    ]


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
    others = len(honest_rows(rows))
    chosen = "The judge" if others == 1 else f"The best of {others} judges"
    first = (
        f"{chosen} that {'has' if others == 1 else 'have'} not seen the held-out battles, {_name(best)}, names the "
        f"answer that people preferred in {percent(best['accuracy'])} of {best['num_pairs']:,} of them "
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
    error = f"calibration error (ECE) is {best['ece']:.3f}"
    if best["flip_rate"] is None:
        return f"Its {error}; it read each pair in one order only."
    return f"When the two answers change places it changes {percent(best['flip_rate'])} of its verdicts; its {error}."


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
    return " ".join(part for part in (sentence, _cascades_on_test_pairs(rows)) if part)


def _cascades_on_test_pairs(rows: Sequence[ScoreboardRow]) -> str:
    """All of them side by side, on test pairs whose prompt no battle asks if these are known apart."""
    cascades = [row for row in rows if row["stage"] == SUBMISSION_STAGE and not slice_of(row)]
    new = [row for row in cascades if row["dataset"] == NEW_PROMPTS]
    shown = new or [row for row in cascades if row["dataset"] == TEST_PAIRS]
    if not shown:
        return ""
    which = "test pairs with prompts that no battle asks" if new else "test pairs, whose prompts battles may ask, too"
    said = ", ".join(
        f"{plain(row['judge'])} {percent(row['accuracy'])} ({interval(row['accuracy_low'], row['accuracy_high'])})"
        for row in shown
    )
    return f"Cascades on {shown[0]['num_pairs']:,} {which}: {said}."


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
    return (
        f"By {kind_name(kind)}, {_name(best)} is right most often for {_part(kind, high)} and least often for "
        f"{_part(kind, low)}; of {len(parts)} parts some lie apart by chance alone."
    )


def _part(kind: str, row: ScoreboardRow) -> str:
    value = plain(value_name(kind, kind_and_value(row)[1]))
    return f"{value} ({percent(row['accuracy'])} of {row['num_pairs']:,})"


def calibration_finding(analysis: JudgeAnalysis | None) -> str:
    """What the temperature does to a judge."""
    if analysis is None:
        return NO_JUDGE
    of = analysis["calibration"]
    if of["note"]:
        return f"The temperature of {_name(analysis)} is not to be relied on: {of['note']}."
    before, after = of["before"], of["after"]
    return (
        f"Temperature {of['temperature']:.2f} takes {_name(analysis)} from a log loss of {before['log_loss']:.3f} to "
        f"{after['log_loss']:.3f} nats and from an ECE of {before['ece']:.3f} to {after['ece']:.3f}, on "
        f"{of['num_judged']:,} battles that it was not fitted on; an honest judge would show an ECE of about "
        f"{after['ece_by_chance']:.3f} there by chance."
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
        f"({interval(swap['flip_rate']['low'], swap['flip_rate']['high'])}) when the answers change places, and names "
        f"the one that is shown first in {percent(first['value'])} of its readings: it favours {leaning}."
    )


def length_finding(analysis: JudgeAnalysis | None) -> str:
    """Whether a judge likes long answers more than people do."""
    if analysis is None:
        return NO_JUDGE
    of = analysis["length"]
    longer, shorter = of["accuracy_longer_won"], of["accuracy_shorter_won"]
    if not (of["names_longer"]["num_battles"] and of["longer_won"]["num_battles"]):
        return "There are no battles whose answers differ in length."
    sentence = (
        f"{_name(analysis)} names the longer answer in {percent(of['names_longer']['value'])} of battles, people "
        f"prefer it in {percent(of['longer_won']['value'])}"
    )
    if not (longer["num_battles"] and shorter["num_battles"]):
        return f"{sentence}; all battles were won by the {'longer' if longer['num_battles'] else 'shorter'} answer."
    return (
        f"{sentence}; it is right in {percent(longer['value'])} of battles that the longer answer won and in "
        f"{percent(shorter['value'])} of those that the shorter one won "
        f"({points(longer['value'] - shorter['value'])} points)."
    )


def abstention_finding(analysis: JudgeAnalysis | None) -> str:
    """What a judge gains by leaving half of the battles alone."""
    if analysis is None or not analysis["abstention"]["points"]:
        return NO_JUDGE
    curve = analysis["abstention"]["points"]
    half = min(curve, key=lambda point: abs(point["coverage"] - 0.5))
    return (
        f"If {_name(analysis)} answers only the {percent(half['coverage'], digits=0)} of battles that it is surest "
        f"of (from {percent(half['confidence'], digits=0)} on), {percent(half['risk'])} of its verdicts are wrong, "
        f"instead of {percent(curve[-1]['risk'])} of all."
    )


def cascade_finding(cascades: Sequence[CascadeAnalysis]) -> str:
    """What the second judge buys, a sentence a cascade."""
    sentences = []
    for cascade in cascades:
        curve, used = cascade["points"], cascade["in_use"]
        if not curve or used is None or len(cascade["judges"]) < 2:
            continue
        first, second = (plain(cascade["read_by"][name]) for name in cascade["judges"][:2])
        sentences.append(
            f"{plain(cascade['stage']).capitalize()} cascade: {first} alone is right in "
            f"{percent(curve[0]['accuracy']['value'])}; with {second} reading {percent(used['share'])} of pairs, too, "
            f"{percent(used['accuracy']['value'])}; with both reading everything "
            f"{percent(curve[-1]['accuracy']['value'])}."
        )
        if any(who != f"{cascade['stage']}.{judge}" for judge, who in cascade["read_by"].items()):
            sentences.append("These judges stand in for those submitted, which have seen the battles.")
        if cascade["is_fitted"]:
            sentences.append("Its weights and threshold were fitted on these very battles, which flatters it.")
    return " ".join(sentences) or "No cascade of two judges has been analysed."


def comparison_finding(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """How many differences are real, and which is the largest."""
    adjusted = adjusted_p_values(comparisons)
    real = [(row, p) for row, p in zip(comparisons, adjusted, strict=True) if p < SIGNIFICANCE]
    if not comparisons:
        return "There are no two judges to compare that have not seen the battles."
    sentence = f"Of {_count(len(comparisons), 'pair')} of judges, {len(real)} differ by more than chance explains."
    if real:
        row, p_value = max(real, key=lambda found: abs(found[0]["difference"]))
        sides = (row["first"], row["second"]) if row["difference"] > 0 else (row["second"], row["first"])
        better, worse = map(plain, sides)
        by = f"{100 * abs(row['difference']):.1f} points, {p_text(p_value)} adjusted"
        sentence += f" The largest of these: {better} is better than {worse} by {by}."
    return sentence


def training_finding(metrics: Mapping[str, pd.DataFrame]) -> str:
    """What the trainings took, and how far the loss fell."""
    logged = {name: table for name, table in metrics.items() if len(table) and "loss" in table}
    if not logged:
        return "No training has logged anything."
    tokens = sum(int(table["tokens"].iloc[-1]) for table in logged.values() if "tokens" in table)
    seconds = sum(float(table["elapsed_s"].iloc[-1]) for table in logged.values() if "elapsed_s" in table)
    return (
        f"{_count(len(logged), 'training')} read {tokens:,} tokens in {_duration(seconds)}. Losses of different stages "
        "are on different battles and labels, so only the course of each line says something."
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
