"""Whether a judge likes long answers more than people do."""

from collections.abc import Mapping, Sequence

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from wsdm_arena.analysis.figures.abstention import shown_first
from wsdm_arena.analysis.figures.names import label, training_name
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    INK,
    LEGEND_BELOW,
    PAPER,
    dash_of,
    empty_figure,
    interval,
    judge_colors,
    panel_title,
    percent,
    points,
    style,
    symbol_of,
    transparent,
    whiskers,
)
from wsdm_arena.analysis.tables import Interval, JudgeAnalysis, LengthBin

_TITLE = "Length of the answers"


def draw_length_bias(analyses: Sequence[JudgeAnalysis], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw people's and judges' preference by difference in length, and accuracy where the longer or shorter won.

    Args:
        analyses: At first the lines of each judge's best honest training are shown.
        colors: By judge, where several figures are to agree.
    """
    if not any(analysis["length"]["bins"] for analysis in analyses):
        return empty_figure(_TITLE, "No battle has answers of different lengths.")
    colors = colors or judge_colors(analysis["judge"] for analysis in analyses)
    lower = 24 * len(analyses) + 20
    height = 330 + lower + 170
    figure = make_subplots(rows=2, cols=1, row_heights=[330.0, float(lower)], vertical_spacing=110 / height)
    figure.add_trace(_votes(analyses[0]["length"]["bins"]), row=1, col=1)
    shown = shown_first(analyses)
    for analysis in analyses:
        color = colors.get(analysis["judge"], BASELINE_COLOR)
        figure.add_trace(_judged(analysis, color, visible=training_name(analysis) in shown), row=1, col=1)
    for analysis in analyses:
        _add_dumbbell(figure, analysis, colors.get(analysis["judge"], BASELINE_COLOR))
    labels = [label(part["label"]) for part in analyses[0]["length"]["bins"]]
    figure.update_xaxes(categoryorder="array", categoryarray=labels, row=1, col=1)
    figure.update_yaxes(tickformat=".0%", title_text="preference for answer A", row=1, col=1)
    figure.update_xaxes(tickformat=".0%", title_text="accuracy", row=2, col=1)
    figure.update_yaxes(
        categoryorder="array", categoryarray=[_name(of) for of in analyses], autorange="reversed", row=2, col=1
    )
    figure.add_annotation(panel_title("<b>Preference by difference in length</b>", x="x", y="y"))
    figure.add_annotation(
        panel_title(
            "<b>Accuracy where the longer answer won</b> (filled) <b>and where the shorter did</b> (hollow)",
            x="x2",
            y="y2",
        )
    )
    figure.update_layout(legend=LEGEND_BELOW)
    return style(figure, title=_TITLE, height=height)


def _name(analysis: JudgeAnalysis) -> str:
    return label(training_name(analysis)) + (" <i>(seen)</i>" if analysis["seen_in_training"] else "")


def _votes(bins: Sequence[LengthBin]) -> go.Scatter:
    votes = [part["vote"] for part in bins]
    values, lows, highs = ([vote[key] for vote in votes] for key in ("value", "low", "high"))
    return go.Scatter(
        x=[label(part["label"]) for part in bins],
        y=values,
        name="people",
        mode="lines+markers",
        line={"color": INK, "width": 2.2},
        marker={"color": INK, "size": 8},
        error_y=whiskers(values, lows, highs, INK),
        hovertext=[_hover("people", part, part["vote"]) for part in bins],
        hoverinfo="text",
    )


def _judged(analysis: JudgeAnalysis, color: str, *, visible: bool) -> go.Scatter:
    bins = analysis["length"]["bins"]
    return go.Scatter(
        x=[label(part["label"]) for part in bins],
        y=[part["judge"]["value"] for part in bins],
        name=_name(analysis),
        mode="lines+markers",
        line={"color": color, "width": 1.8, "dash": dash_of(analysis["stage"])},
        marker={"color": color, "size": 7, "symbol": symbol_of(analysis["stage"], seen=analysis["seen_in_training"])},
        hovertext=[_hover(_name(analysis), part, part["judge"]) for part in bins],
        hoverinfo="text",
        visible=visible or "legendonly",
    )


def _hover(name: str, part: LengthBin, measured: Interval) -> str:
    numbers = f"{percent(measured['value'])} ({interval(measured['low'], measured['high'])})"
    return f"<b>{name}</b><br>{label(part['label'])}<br>for A: {numbers}<br>{part['num_battles']:,} battles"


def _add_dumbbell(figure: go.Figure, analysis: JudgeAnalysis, color: str) -> None:
    length, name = analysis["length"], _name(analysis)
    longer, shorter = length["accuracy_longer_won"], length["accuracy_shorter_won"]
    bias = points(longer["value"] - shorter["value"])
    common = f"<b>{name}</b><br>%s: {{}}<br>longer against shorter: {bias} points"
    hover = [
        (common % how).format(
            f"{percent(part['value'])} ({interval(part['low'], part['high'])}), {part['num_battles']:,} battles"
        )
        for how, part in (("longer answer won", longer), ("shorter answer won", shorter))
    ]
    trace = go.Scatter(
        x=[longer["value"], shorter["value"]],
        y=[name, name],
        mode="lines+markers",
        line={"color": transparent(color, 0.25), "width": 5},
        marker={"color": [color, PAPER], "size": 10, "line": {"color": color, "width": 2}},
        error_x=whiskers(
            [longer["value"], shorter["value"]],
            [longer["low"], shorter["low"]],
            [longer["high"], shorter["high"]],
            color,
        ),
        hovertext=hover,
        hoverinfo="text",
        showlegend=False,
    )
    figure.add_trace(trace, row=2, col=1)
