"""Whether what a judge is sure of is as sure as it says."""

from collections.abc import Mapping, Sequence

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from wsdm_arena.analysis.figures.names import label, training_name
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    LEGEND_BELOW,
    MUTED,
    RULE,
    empty_figure,
    interval,
    judge_colors,
    panel_title,
    percent,
    style,
    transparent,
    whiskers,
)
from wsdm_arena.analysis.tables import JudgeAnalysis, ReliabilityBin

_TITLE = "Reliability of probabilities"
_ROW_PIXELS = 260
_BEFORE, _AFTER = "as trained", "after the temperature"


def draw_calibration(analyses: Sequence[JudgeAnalysis], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw for each judge how often it is right against how sure it is, before and after its temperature.

    Args:
        analyses: One panel each.
        colors: By judge, where several figures are to agree.
    """
    if not analyses:
        return empty_figure(_TITLE, "No judge has been analysed.")
    colors = colors or judge_colors(analysis["judge"] for analysis in analyses)
    columns = _num_columns(len(analyses))
    rows = -(-len(analyses) // columns)
    height = _ROW_PIXELS * rows + 90
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.05,
        vertical_spacing=min(0.3, 56 / height),
    )
    for number, analysis in enumerate(analyses):
        color = colors.get(analysis["judge"], BASELINE_COLOR)
        _draw_panel(figure, analysis, color, number // columns + 1, number % columns + 1, number)
    for column in range(1, columns + 1):  # the last panel of a column carries its axis
        last = (len(analyses) - column) // columns + 1
        figure.update_xaxes(title_text="says", showticklabels=True, row=last, col=column)
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text="is right", row=row, col=1)
    _scale(figure, analyses)
    figure.update_layout(legend=LEGEND_BELOW)
    return style(figure, title=_TITLE, height=height)


def draw_reliability(analysis: JudgeAnalysis) -> go.Figure:
    """Draw :func:`draw_calibration` for one judge."""
    figure = draw_calibration([analysis])
    figure.update_layout(margin_t=88)  # below the figure's title stand the two lines of the panel's
    return style(figure, title=f"Reliability of {label(training_name(analysis))}", height=380)


def _draw_panel(figure: go.Figure, analysis: JudgeAnalysis, color: str, row: int, column: int, number: int) -> None:
    calibration = analysis["calibration"]
    low = _lowest(analysis)
    diagonal = go.Scatter(
        x=[low, 1], y=[low, 1], mode="lines", line={"color": RULE, "width": 1}, hoverinfo="skip", showlegend=False
    )
    figure.add_trace(diagonal, row=row, col=column)
    before = _curve(calibration["bins_before"], _BEFORE, MUTED, "circle-open", "dot", first=number == 0)
    after = _curve(calibration["bins_after"], _AFTER, color, "circle", "solid", first=number == 0)
    figure.add_trace(before, row=row, col=column)
    figure.add_trace(after, row=row, col=column)
    axis = "" if number == 0 else str(number + 1)
    seen = " <i>(seen)</i>" if analysis["seen_in_training"] else ""
    errors = f"ECE {calibration['before']['ece']:.3f} → {calibration['after']['ece']:.3f}"
    text = f"<b>{label(training_name(analysis), limit=22)}</b>{seen}<br><span style='color:{MUTED}'>{errors}</span>"
    figure.add_annotation(panel_title(text, x="x" + axis, y="y" + axis))


def _num_columns(panels: int) -> int:
    """Four, or three where that leaves fewer holes in the last row."""
    return min(panels, min((3, 4), key=lambda columns: (-panels % columns, -columns)))


def _curve(bins: Sequence[ReliabilityBin], name: str, color: str, symbol: str, dash: str, *, first: bool) -> go.Scatter:
    values = [part["accuracy"]["value"] for part in bins]
    bars = whiskers(
        values, [part["accuracy"]["low"] for part in bins], [part["accuracy"]["high"] for part in bins], _faint(color)
    )
    return go.Scatter(
        x=[part["mean_confidence"] for part in bins],
        y=values,
        name=name,
        legendgroup=name,
        showlegend=first,
        mode="lines+markers",
        line={"color": color, "width": 1.6, "dash": dash},
        marker={"color": color, "size": 6, "symbol": symbol},
        error_y=bars if name == _AFTER else None,
        hovertext=[_hover(name, part) for part in bins],
        hoverinfo="text",
    )


def _hover(name: str, part: ReliabilityBin) -> str:
    right = part["accuracy"]
    return (
        f"{name}<br>says {percent(part['mean_confidence'])}, is right in {percent(right['value'])} "
        f"({interval(right['low'], right['high'])})<br>{part['num_battles']:,} battles said "
        f"{100 * part['confidence_low']:.0f} to {part['confidence_high']:.0%}"
    )


def _faint(color: str) -> str:
    return transparent(color, 0.45)


def _lowest(analysis: JudgeAnalysis) -> float:
    """Left end of the axis: a winner among two classes has at least one half, among three one third."""
    calibration = analysis["calibration"]
    lows = [part["mean_confidence"] for part in (*calibration["bins_before"], *calibration["bins_after"])]
    return 0.5 if min(lows, default=0.5) >= 0.5 else 1 / 3


def _scale(figure: go.Figure, analyses: Sequence[JudgeAnalysis]) -> None:
    low = min(map(_lowest, analyses))
    accuracies = [
        part["accuracy"]["low"] for of in analyses for part in of["calibration"]["bins_after"] if part["num_battles"]
    ]
    figure.update_xaxes(range=[low - 0.02, 1.02], tickformat=".0%", dtick=0.1 if len(analyses) == 1 else 0.25)
    figure.update_yaxes(range=[max(0, min([low, *accuracies]) - 0.03), 1.03], tickformat=".0%", dtick=0.25)
