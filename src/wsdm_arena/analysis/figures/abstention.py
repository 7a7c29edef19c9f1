"""What is wrong among the verdicts that are left if a judge may abstain."""

from collections.abc import Mapping, Sequence

from plotly import graph_objects as go

from wsdm_arena.analysis.figures.names import best_of_each, label, training_name
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    LEGEND_BELOW,
    dash_of,
    empty_figure,
    judge_colors,
    percent,
    style,
)
from wsdm_arena.analysis.tables import JudgeAnalysis

MIN_BATTLES = 20
"""Of fewer verdicts, one wrong or right one makes the line jump."""
_TITLE = "Errors that remain if the judge may abstain"


def shown_first(analyses: Sequence[JudgeAnalysis]) -> set[str]:
    """Trainings that crowded figures show before anybody clicks: of each judge the most accurate honest one."""
    return best_of_each(
        [(training_name(of), of["judge"], 1 - _risk_of_all(of), of["seen_in_training"]) for of in analyses]
    )


def draw_abstention(analyses: Sequence[JudgeAnalysis], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw coverage against risk, from a few battles on.

    Args:
        analyses: At first the best honest training of each judge is shown.
        colors: By judge, where several figures are to agree.
    """
    drawn = [analysis for analysis in analyses if analysis["abstention"]["points"]]
    if not drawn:
        return empty_figure(_TITLE, "No judge has been analysed.")
    colors = colors or judge_colors(analysis["judge"] for analysis in analyses)
    shown = shown_first(drawn)
    figure = go.Figure()
    for analysis in drawn:
        color = colors.get(analysis["judge"], BASELINE_COLOR)
        figure.add_trace(_line(analysis, color, visible=training_name(analysis) in shown))
    figure.update_xaxes(tickformat=".0%", range=[0, 1.01], title_text="share of battles that it answers")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title_text="share of wrong verdicts")
    figure.update_layout(legend=LEGEND_BELOW)
    return style(figure, title=_TITLE, height=430)


def _risk_of_all(analysis: JudgeAnalysis) -> float:
    curve = analysis["abstention"]["points"]
    return curve[-1]["risk"] if curve else 1.0


def _line(analysis: JudgeAnalysis, color: str, *, visible: bool) -> go.Scatter:
    name = label(training_name(analysis))
    curve = [
        point
        for point in analysis["abstention"]["points"]
        if point["coverage"] * analysis["num_battles"] >= MIN_BATTLES or point["coverage"] == 1
    ]
    name += " (seen)" if analysis["seen_in_training"] else ""
    return go.Scatter(
        x=[point["coverage"] for point in curve],
        y=[point["risk"] for point in curve],
        name=name,
        mode="lines",
        line={"color": color, "width": 2, "dash": dash_of(analysis["stage"])},
        hovertext=[
            f"<b>{name}</b><br>answers {percent(point['coverage'])}, of these {percent(point['risk'])} wrong<br>"
            f"abstains below {percent(point['confidence'])}; area under the curve {analysis['abstention']['area']:.3f}"
            for point in curve
        ],
        hoverinfo="text",
        visible=visible or "legendonly",
    )
