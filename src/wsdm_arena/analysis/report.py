"""All that is known of the judges on one page, which needs no network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from wsdm_arena.analysis import findings
from wsdm_arena.analysis.datasets import TableSummary
from wsdm_arena.analysis.figures.abstention import shown_first
from wsdm_arena.analysis.figures.names import (
    SUBMISSION_STAGE,
    is_baseline,
    is_ceiling,
    is_start,
    language_name,
    plain,
    stage_order,
    training_name,
)
from wsdm_arena.analysis.questions import QUESTIONS
from wsdm_arena.analysis.tables import CascadeAnalysis, JudgeAnalysis
from wsdm_arena.scoring.scoreboard import ScoreboardRow, slice_of, without_start

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_BARS = 14
"""Languages and sources of a table that the page draws; it counts the others."""

_TABLES = {
    "battles": "what people voted on: training and held-out fold",
    "test_pairs": "what the submission is about",
    "collected_pairs": "pairs without a vote, found elsewhere",
    "collected_labels": "those that teachers labelled",
    "generated_pairs": "pairs that were made from mined prompts",
    "generated_labels": "those that students labelled",
}


@dataclass(frozen=True)
class Section:
    """A question, what answers it and how to read that."""

    anchor: str
    question: str
    reading: str
    """A paragraph, the same in every report."""
    finding: str
    """A sentence computed from the numbers."""
    figure: "Figure | None" = None


def build_report(
    *,
    title: str,
    rows: Sequence[ScoreboardRow],
    analyses: Sequence[JudgeAnalysis],
    cascades: Sequence[CascadeAnalysis] = (),
    comparisons: Sequence[Mapping[str, Any]] = (),
    learning_metrics: Mapping[str, pd.DataFrame] | None = None,
    run: Mapping[str, Any] | None = None,
    tables: Mapping[str, TableSummary] | None = None,
    notes: Sequence[str] = (),
    confidence: float = 0.95,
) -> str:
    """Write the report: one HTML page with figures and plotly itself inside, which asks no server for anything.

    The same arguments give the same bytes. Names of judges, languages, models and sources are data: they are escaped.

    Args:
        title: What the report is about.
        rows: The scoreboard.
        analyses: Of the judges, in the recipe's order.
        cascades: Analyses of the cascades.
        comparisons: As :func:`wsdm_arena.scoring.comparisons.compare_judges` gives them.
        learning_metrics: What trainings logged, by training.
        run: What is known of the run, by name: its id, environment, command; what is null is left out.
        tables: Sizes of the tables of pairs, by name.
        notes: Paragraphs that stand at the end.
        confidence: Of the intervals that are computed here; the others are in what is given.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    sections = _sections(rows, analyses, cascades, comparisons, learning_metrics or {}, tables or {}, confidence)
    environment = Environment(
        loader=PackageLoader("wsdm_arena.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=plain(title, limit=120),
        headline=findings.headline(rows),
        tiles=_tiles(rows),
        scoreboard=_scoreboard(rows, _colors(rows, analyses)),
        has_brier=any(row.get("brier") is not None for row in rows),
        starts=_starts(rows),
        sections=sections,
        figures={section.anchor: _figure_json(section.figure) for section in sections if section.figure is not None},
        tables=_tables(tables or {}),
        run={plain(key): plain(value, limit=400) for key, value in (run or {}).items() if value is not None},
        notes=list(notes),
        plotly=get_plotlyjs().replace("</script", r"<\/script"),
    )
    return page.encode("utf-8", errors="replace").decode("utf-8")


def _sections(
    rows: Sequence[ScoreboardRow],
    analyses: Sequence[JudgeAnalysis],
    cascades: Sequence[CascadeAnalysis],
    comparisons: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, pd.DataFrame],
    tables: Mapping[str, TableSummary],
    confidence: float,
) -> list[Section]:
    from wsdm_arena.analysis import figures

    colors = _colors(rows, analyses)
    best = _best_analysis(rows, analyses)
    content = {
        "accuracy": (findings.accuracy_finding(rows), figures.draw_accuracy(rows, colors=colors)),
        "slices": (findings.slices_finding(rows), figures.draw_slices(rows, colors=colors)),
        "calibration": (findings.calibration_finding(best), figures.draw_calibration(analyses, colors=colors)),
        "swap": (
            findings.swap_finding(best),
            figures.draw_swap_audit(analyses, rows, colors=colors, confidence=confidence),
        ),
        "length": (findings.length_finding(best), figures.draw_length_bias(analyses, colors=colors)),
        "abstention": (findings.abstention_finding(best), figures.draw_abstention(analyses, colors=colors)),
        "cascades": (findings.cascade_finding(cascades), figures.draw_cascade_frontier(cascades)),
        "comparisons": (
            findings.comparison_finding(comparisons),
            figures.draw_comparisons(comparisons, colors=colors),
        ),
        "training": (findings.training_finding(metrics), figures.draw_learning_curves(metrics, colors=colors)),
        "data": (findings.data_finding(tables), None),
    }
    return [Section(anchor, *QUESTIONS[anchor], *content[anchor]) for anchor in QUESTIONS]


def _colors(rows: Sequence[ScoreboardRow], analyses: Sequence[JudgeAnalysis]) -> dict[str, str]:
    """One colour a judge, in all figures and the table."""
    from wsdm_arena.analysis.figures.theme import judge_colors

    names = [row["judge"] for row in rows if not is_baseline(row) and row["stage"] != SUBMISSION_STAGE]
    return judge_colors([*names, *(analysis["judge"] for analysis in analyses)])


def _best_analysis(rows: Sequence[ScoreboardRow], analyses: Sequence[JudgeAnalysis]) -> JudgeAnalysis | None:
    """Of the best honest judge; where the scoreboard has none, of the most accurate judge that has been analysed."""
    best = findings.best_honest(rows)
    by_name = {training_name(analysis): analysis for analysis in analyses if not analysis["seen_in_training"]}
    if best is not None and training_name(best) in by_name:
        return by_name[training_name(best)]
    return next((by_name[name] for name in by_name if name in shown_first(list(by_name.values()))), None)


def _figure_json(figure: "Figure") -> dict[str, Any]:
    """A figure as the page's script takes it: at its own height, without the title, which the section has."""
    content = json.loads(figure.to_json(engine="json"))
    layout = content["layout"]
    layout.pop("title", None)
    layout["height"] = layout["meta"]["height"]
    lines = [1 + annotation["text"].count("<br>") for annotation in layout.get("annotations", ())]
    layout["margin"] = {"l": 12, "r": 56, "t": 12 + 18 * max(lines, default=bool(layout.get("updatemenus"))), "b": 44}
    if layout.get("updatemenus"):
        layout["margin"]["t"] = 50 + layout["updatemenus"][0]["pad"]["b"] - 14
    return {"data": content["data"], "layout": layout}


def _tiles(rows: Sequence[ScoreboardRow]) -> list[dict[str, str]]:
    """The best honest judge in four numbers."""
    from wsdm_arena.analysis.figures.theme import interval, percent, points

    best = findings.best_honest(rows)
    if best is None:
        return []
    bounds = interval(best["accuracy_low"], best["accuracy_high"])
    tiles = [{"value": percent(best["accuracy"]), "name": "accuracy", "note": f"interval {bounds}"}]
    beside = findings.baselines_beside(best, rows)
    for row in beside[:1]:
        name = "the ceiling" if is_ceiling(row) else plain(row["judge"])
        difference = points(best["accuracy"] - row["accuracy"])
        note = f"which stands at {percent(row['accuracy'])}"
        tiles.append({"value": difference, "name": f"points against {name}", "note": note})
    if best["flip_rate"] is not None:
        tiles.append({"value": percent(best["flip_rate"]), "name": "verdicts that flip", "note": "with the order"})
    error = {"value": f"{best['ece']:.3f}", "name": "calibration error (ECE)", "note": "chance keeps it above 0"}
    tiles.append(error)
    return tiles


def _scoreboard(rows: Sequence[ScoreboardRow], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of whole datasets as the table shows them, by dataset."""
    whole = [row for row in rows if not slice_of(row) and not is_start(row)]
    if not whole:
        return []
    low = min(row["accuracy_low"] for row in whole)
    width = max(max(row["accuracy_high"] for row in whole) - low, 1e-9)
    best = findings.best_honest(rows)
    datasets: dict[str, list[ScoreboardRow]] = {}
    for row in whole:
        datasets.setdefault(row["dataset"], []).append(row)
    ordered = sorted(datasets.items(), key=lambda item: -sum(not is_baseline(row) for row in item[1]))
    return [
        {
            "dataset": plain(dataset),
            "rows": [
                _line(row, low, width, colors) | {"best": row is best}
                for row in sorted(part, key=lambda row: (is_baseline(row), stage_order(row["stage"])))
            ],
        }
        for dataset, part in ordered
    ]


def _line(row: ScoreboardRow, low: float, width: float, colors: Mapping[str, str]) -> dict[str, Any]:
    """A row in words, with its interval as percentages of the column's width."""
    from wsdm_arena.analysis.figures.theme import BASELINE_COLOR, CASCADE_COLORS

    cascade = row["stage"] == SUBMISSION_STAGE
    color = CASCADE_COLORS[0] if cascade else BASELINE_COLOR if is_baseline(row) else colors[row["judge"]]
    keys = ("accuracy_low", "accuracy", "accuracy_high")
    return {
        "name": f"cascade {plain(row['judge'])}" if cascade else plain(training_name(row)),
        "kind": "baseline" if is_baseline(row) else "judge",
        "seen": row["seen_in_training"],
        "color": color,
        "whisker": [round(100 * (row[key] - low) / width, 2) for key in keys],  # type: ignore[literal-required]
        "row": row,
        "brier": row.get("brier"),
    }


def _starts(rows: Sequence[ScoreboardRow]) -> list[dict[str, Any]]:
    """What each training began with and came to; whether that was a language model that nobody had trained to judge."""
    ends = {training_name(row): row for row in rows if not slice_of(row) and row["fold"] is not None}
    starts = [row for row in rows if is_start(row) and not slice_of(row)]
    return [
        {"name": plain(name), "start": row, "end": ends[name], "zero_shot": row["stage"].endswith(".zero_shot")}
        for row in sorted(starts, key=lambda row: stage_order(without_start(row["stage"])))
        if (name := f"{without_start(row['stage'])}.{row['judge']}") in ends
    ]


def _tables(tables: Mapping[str, TableSummary]) -> list[dict[str, Any]]:
    return [
        {
            "name": plain(name),
            "about": _TABLES.get(name, ""),
            "num_rows": table["num_rows"],
            "num_prompts": table["num_prompts"],
            "languages": _bars({language_name(code): size for code, size in table["languages"].items()}),
            "sources": _bars(table["sources"]),
        }
        for name, table in tables.items()
    ]


def _bars(counts: Mapping[str, int]) -> dict[str, Any]:
    """The most frequent values with their share of the largest one, in percent of its bar."""
    shown = list(counts.items())[:MAX_BARS]
    largest = max(counts.values(), default=1) or 1
    bars = [{"name": plain(name), "size": size, "width": round(100 * size / largest, 1)} for name, size in shown]
    return {"bars": bars, "others": len(counts) - len(shown)}
