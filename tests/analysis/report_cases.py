"""What the report may be given: few and many judges, hard names, nothing at all."""

from typing import Any

import pandas as pd

from wsdm_arena.analysis.tables import CascadeAnalysis, Interval, JudgeAnalysis
from wsdm_arena.scoring.scoreboard import ScoreboardRow

HOSTILE = "<img src=x onerror=alert(1)>&</script>%{x}\x00\ud800"
"""Markup for a page and for plotly, a template of plotly's, a null byte, half a character."""


def share(value: float, num_battles: int = 100) -> Interval:
    return Interval(value=value, low=value - 0.05, high=value + 0.04, num_battles=num_battles)


def row(stage: str, judge: str, part: str = "", **changes: Any) -> ScoreboardRow:
    values: dict[str, Any] = dict.fromkeys(ScoreboardRow.__annotations__)
    values |= {"stage": stage, "judge": judge, "dataset": f"battles[fold 0] {part}".strip(), "num_pairs": 100}
    values |= {"accuracy": 0.75, "accuracy_low": 0.7, "accuracy_high": 0.79, "log_loss": 0.5, "brier": 0.4}
    values |= {"ece": 0.03, "flip_rate": 0.2, "swap_gap": 0.1, "fold": 0, "seen_in_training": False}
    return ScoreboardRow(**(values | changes))


def analysis(stage: str, judge: str, *, classes: int = 2, **changes: Any) -> JudgeAnalysis:
    scores = {"log_loss": 0.5, "brier": 0.3, "ece": 0.03, "ece_by_chance": 0.02}
    lowest = 1 / classes
    bins = [
        {
            "confidence_low": lowest + step * (1 - lowest) / 3,
            "confidence_high": lowest + (step + 1) * (1 - lowest) / 3,
            "num_battles": 30,
            "mean_confidence": lowest + (step + 0.5) * (1 - lowest) / 3,
            "accuracy": share(0.5 + 0.15 * step, 30),
        }
        for step in range(3)
    ]
    calibration = {"temperature": 1.2, "num_fitted": 50, "num_judged": 50, "before": scores, "after": scores}
    calibration |= {"bins_before": bins, "bins_after": bins[1:], "note": ""}
    swap = {"num_pairs": 100, "flip_rate": share(0.2), "gap": share(0.1), "first_shown": share(0.51), "gaps": []}
    lengths = [
        {"label": label, "num_battles": 50, "vote": share(0.5), "judge": share(0.6)}
        for label in ("A longer", "B longer")
    ]
    length = {"names_longer": share(0.6), "longer_won": share(0.5), "bins": lengths}
    length |= {"accuracy_longer_won": share(0.8), "accuracy_shorter_won": share(0.7)}
    points = [{"coverage": at / 10, "risk": at / 40, "confidence": 1 - at / 20} for at in range(1, 11)]
    values = {"stage": stage, "judge": judge, "fold": 0, "seen_in_training": False, "num_battles": 100}
    values |= {"calibration": calibration, "swap": swap, "length": length}
    values |= {"abstention": {"points": points, "area": 0.13}}
    return JudgeAnalysis(**(values | changes))


def cascade(stage: str = "student", judges: tuple[str, ...] = ("gemma", "llama"), **changes: Any) -> CascadeAnalysis:
    points = [
        {"threshold": at / 4, "share": at / 4, "accuracy": share(0.7 + at / 100), "seconds": 2.0 + at}
        for at in range(5)
    ]
    values = {"stage": stage, "judges": list(judges), "weights": dict.fromkeys(judges, 1.0), "threshold": 0.5}
    values |= {"read_by": {judge: f"{stage}.{judge}" for judge in judges}, "is_fitted": False, "num_battles": 100}
    values |= {"num_test_pairs": 40, "points": points, "in_use": points[2]}
    return CascadeAnalysis(**(values | changes))


def comparison(first: str, second: str, difference: float = 0.02, p_value: float = 0.001) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "num_battles": 100,
        "difference": difference,
        "num_first_better": 10,
        "num_second_better": 8,
        "p_value": p_value,
        "difference_low": difference - 0.01,
        "difference_high": difference + 0.03,
    }


def metrics(num: int = 12, **columns: Any) -> pd.DataFrame:
    updates = [5 * (number + 1) for number in range(num)]
    table = {"update": updates, "phase": [int(2 * number >= num) for number in range(num)]}
    table |= {"loss": [1 / update for update in updates], "learning_rate": [1e-4] * num}
    return pd.DataFrame(table | {"tokens": updates, "elapsed_s": updates} | columns)


def everything(*, hostile: bool = False) -> dict[str, Any]:
    """Arguments of ``build_report``: baselines, a judge that has seen the battles, cascades, languages, models."""
    odd = HOSTILE if hostile else "odd"
    rows = [row("baseline", "tfidf", accuracy=0.55, flip_rate=None), row("baseline", "ceiling", accuracy=0.9)]
    for stage, judge, accuracy in (("teacher", "gemma", 0.7), ("teacher", odd, 0.72), ("student", "llama", 0.8)):
        rows.append(row(stage, judge, accuracy=accuracy))
        rows.append(row(f"{stage}.start", judge, dataset="sample[fold 0]", accuracy=0.5))
        for part in ("language=en", "language=unknown", f"language={odd}", f"models={odd} vs b", "truncated=yes"):
            rows.append(row(stage, judge, part, accuracy=accuracy - 0.02))
    rows.append(row("final", "llama", accuracy=0.99, seen_in_training=True))
    rows.append(row("submission", "student", dataset="test_pairs", fold=None, flip_rate=None))
    return {
        "title": odd,
        "rows": rows,
        "analyses": [
            analysis("teacher", "gemma"),
            analysis("teacher", odd, swap=None),
            analysis("student", "llama"),
            analysis("final", "llama", seen_in_training=True),
        ],
        "cascades": [cascade(), cascade(odd)],
        "comparisons": [
            comparison("student.llama", "teacher.gemma"),
            comparison("student.llama", f"teacher.{odd}", 0.0, 1),
        ],
        "learning_metrics": {"teacher.gemma": metrics(), f"teacher.{odd}": metrics(), "student.llama": metrics(3)},
        "run": {"run_id": "r1", "command": odd, "env": None},
        "tables": {
            "battles": {"num_rows": 900, "num_prompts": 800, "languages": {"en": 600, odd: 300}, "sources": {odd: 900}},
            "pairs": {"num_rows": 7, "num_prompts": 7, "languages": {}, "sources": {}},
        },
    }
