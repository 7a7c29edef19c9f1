"""What reading pairs a second time is worth, and costs."""

from collections.abc import Sequence

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from wsdm_arena.analysis.figures.names import label
from wsdm_arena.analysis.figures.theme import (
    CASCADE_COLORS,
    LEGEND_BELOW,
    PAPER,
    empty_figure,
    interval,
    percent,
    style,
    transparent,
)
from wsdm_arena.analysis.tables import CascadeAnalysis, FrontierPoint

_TITLE = "Accuracy against what the cascade costs"
_COSTS = (("share", "share of pairs that the second judge reads"), ("seconds", "seconds for the test table"))


def draw_cascade_frontier(analyses: Sequence[CascadeAnalysis]) -> go.Figure:
    """Draw accuracy against the share of pairs that are read twice, and against seconds where they are known.

    The band is the interval of each point by itself; points share their battles, so that differences along a line are
    surer than the band looks. A star marks the threshold in use.
    """
    drawn = [analysis for analysis in analyses if analysis["points"]]
    if not drawn:
        return empty_figure(_TITLE, "No cascade has been analysed.")
    timed = any(point["seconds"] is not None for analysis in drawn for point in analysis["points"])
    costs = _COSTS if timed else _COSTS[:1]
    figure = make_subplots(rows=1, cols=len(costs), shared_yaxes=True, horizontal_spacing=0.05)
    for column, (cost, title) in enumerate(costs, start=1):
        for number, analysis in enumerate(drawn):
            _add_cascade(figure, analysis, CASCADE_COLORS[number % len(CASCADE_COLORS)], cost, column)
        figure.update_xaxes(
            title_text=title,
            tickformat=".0%" if cost == "share" else None,
            row=1,
            col=column,
        )
    figure.update_yaxes(tickformat=".1%")
    figure.update_yaxes(title_text="accuracy on held-out battles", row=1, col=1)
    figure.update_layout(legend=LEGEND_BELOW)
    return style(figure, title=_TITLE, height=430)


def cascade_name(analysis: CascadeAnalysis) -> str:
    """``student: student.gemma, then student.llama``, those that were read for it; not yet escaped."""
    return f"{analysis['stage']}: {', then '.join(analysis['read_by'][judge] for judge in analysis['judges'])}"


def _add_cascade(figure: go.Figure, analysis: CascadeAnalysis, color: str, cost: str, column: int) -> None:
    curve = [point for point in analysis["points"] if point[cost] is not None]  # type: ignore[literal-required]
    if not curve:
        return
    name = label(cascade_name(analysis), limit=80)
    costs = [point[cost] for point in curve]  # type: ignore[literal-required]
    band = go.Scatter(
        x=costs + costs[::-1],
        y=[point["accuracy"]["high"] for point in curve] + [point["accuracy"]["low"] for point in reversed(curve)],
        fill="toself",
        fillcolor=transparent(color, 0.08),
        line={"width": 0},
        mode="lines",
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=costs,
        y=[point["accuracy"]["value"] for point in curve],
        name=name,
        legendgroup=name,
        showlegend=column == 1,
        mode="lines" if len(curve) > 12 else "lines+markers",
        line={"color": color, "width": 2},
        hovertext=[_hover(name, point) for point in curve],
        hoverinfo="text",
    )
    figure.add_trace(band, row=1, col=column)
    figure.add_trace(line, row=1, col=column)
    used = analysis["in_use"]
    if used is not None and used[cost] is not None:  # type: ignore[literal-required]
        figure.add_trace(_star(name, used, color, cost), row=1, col=column)


def _star(name: str, point: FrontierPoint, color: str, cost: str) -> go.Scatter:
    return go.Scatter(
        x=[point[cost]],  # type: ignore[literal-required]
        y=[point["accuracy"]["value"]],
        mode="markers",
        marker={"color": color, "size": 15, "symbol": "star", "line": {"color": PAPER, "width": 1.5}},
        legendgroup=name,
        showlegend=False,
        hovertext=["<b>in use</b><br>" + _hover(name, point)],
        hoverinfo="text",
    )


def _hover(name: str, point: FrontierPoint) -> str:
    right = point["accuracy"]
    text = f"<b>{name}</b><br>reads {percent(point['share'])} twice (threshold {point['threshold']:.3g})"
    text += f"<br>accuracy {percent(right['value'])} ({interval(right['low'], right['high'])})"
    text += f"<br>{right['num_battles']:,} battles"
    return text if point["seconds"] is None else f"{text}<br>{point['seconds']:,.1f} s for the test table"
