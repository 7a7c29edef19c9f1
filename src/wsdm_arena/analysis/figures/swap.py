"""What exchanging the two answers does to a judge."""

from collections.abc import Mapping, Sequence

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from wsdm_arena.analysis.figures.names import is_baseline, kind_and_value, label, training_name, value_name
from wsdm_arena.analysis.figures.slices import Slices, kind_buttons, restricted, slices_of, slot_of
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    LEGEND_BELOW,
    empty_figure,
    interval,
    judge_colors,
    menu,
    panel_title,
    percent,
    style,
    symbol_of,
    whiskers,
)
from wsdm_arena.analysis.tables import Interval, JudgeAnalysis
from wsdm_arena.metrics import wilson_interval
from wsdm_arena.scoring.scoreboard import ScoreboardRow

_TITLE = "When the answers change places"
_WHOLE = "all"
_MEASURES = (("flip_rate", "verdicts that flip"), ("gap", "how far the probability of an answer moves"))


def draw_swap_audit(
    analyses: Sequence[JudgeAnalysis],
    rows: Sequence[ScoreboardRow],
    *,
    colors: Mapping[str, str] | None = None,
    confidence: float = 0.95,
) -> go.Figure:
    """Draw flip rate and gap, of all pairs with intervals, and by part where the scoreboard has it.

    Args:
        analyses: Judges that read one order only are left out.
        rows: The scoreboard; its slices have no interval of the gap, that of the flip rate is Wilson's.
        colors: By judge, where several figures are to agree.
        confidence: Of the slices' intervals; the others are in the analyses.
    """
    audited = [analysis for analysis in analyses if analysis["swap"] is not None]
    if not audited:
        return empty_figure(_TITLE, "No judge has read both orders.")
    colors = colors or judge_colors(
        [*(of["judge"] for of in analyses), *(row["judge"] for row in rows if not is_baseline(row))]
    )
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06)
    owners = [(_WHOLE, "")] * _add_whole(figure, audited, colors)
    kinds = [restricted(kind, "flip_rate") for kind in slices_of(rows)]
    kinds = [kind for kind in kinds if kind.categories]
    for kind in kinds:
        for name, scored in kind.rows.items():
            owners += [(kind.kind, name)] * _add_slices(figure, kind, name, scored, colors, confidence)
    names = [_name(analysis) for analysis in audited]
    whole = Slices(_WHOLE, dict(zip(names, names, strict=True)), {}, frozenset([""]))
    buttons = list(kind_buttons([whole, *kinds], owners))
    buttons[0]["label"] = "all pairs"
    for number, (_, title) in enumerate(_MEASURES, start=1):
        axis = "" if number == 1 else str(number)
        figure.add_annotation(panel_title(f"<b>{title}</b>", x="x" + axis, y="y" + axis))
    figure.update_xaxes(rangemode="tozero", tickformat=".0%", title_text="share of pairs", row=1, col=1)
    figure.update_xaxes(rangemode="tozero", title_text="probability", row=1, col=2)
    figure.update_yaxes(categoryorder="array", categoryarray=names, autorange="reversed")
    figure.update_layout(scattermode="group", scattergap=0.35, legend=LEGEND_BELOW, updatemenus=menu(buttons))
    for chosen in figure.layout.updatemenus:
        chosen.pad.b = 34  # above the headings of the panels
    return style(figure, title=_TITLE, height=max(280, 150 + 26 * len(audited)))


def _name(analysis: JudgeAnalysis) -> str:
    return label(training_name(analysis)) + (" <i>(seen)</i>" if analysis["seen_in_training"] else "")


def _add_whole(figure: go.Figure, audited: Sequence[JudgeAnalysis], colors: Mapping[str, str]) -> int:
    """Add a trace a judge and measure; return how many."""
    for analysis in audited:
        color = colors.get(analysis["judge"], BASELINE_COLOR)
        for column, (key, title) in enumerate(_MEASURES, start=1):
            measured: Interval = analysis["swap"][key]  # type: ignore[index, literal-required]
            trace = go.Scatter(
                x=[measured["value"]],
                y=[_name(analysis)],
                orientation="h",
                offsetgroup=_WHOLE,
                mode="markers",
                marker={
                    "color": color,
                    "size": 10,
                    "symbol": symbol_of(analysis["stage"], seen=analysis["seen_in_training"]),
                },
                error_x=whiskers([measured["value"]], [measured["low"]], [measured["high"]], color),
                hovertext=[_whole_hover(analysis, title, measured)],
                hoverinfo="text",
                showlegend=False,
            )
            figure.add_trace(trace, row=1, col=column)
    return len(audited) * len(_MEASURES)


def _whole_hover(analysis: JudgeAnalysis, title: str, measured: Interval) -> str:
    first = analysis["swap"]["first_shown"]  # type: ignore[index]
    return (
        f"<b>{_name(analysis)}</b><br>{title}: {_number(title, measured['value'])} "
        f"({_number(title, measured['low'])} to {_number(title, measured['high'])})<br>names the answer shown first in "
        f"{percent(first['value'])} ({interval(first['low'], first['high'])})<br>{measured['num_battles']:,} pairs"
    )


def _number(title: str, value: float) -> str:
    return percent(value) if title == _MEASURES[0][1] else f"{value:.3f}"


def _add_slices(
    figure: go.Figure,
    kind: Slices,
    name: str,
    rows: Sequence[ScoreboardRow],
    colors: Mapping[str, str],
    confidence: float,
) -> int:
    """Add a judge's traces; return how many."""
    color, names = (
        colors.get(rows[0]["judge"], BASELINE_COLOR),
        [kind.categories[kind_and_value(row)[1]] for row in rows],
    )
    shared = {
        "y": names,
        "name": label(name),
        "legendgroup": label(name),
        "orientation": "h",
        "offsetgroup": slot_of(rows[0]),
        "mode": "markers",
        "marker": {"color": color, "size": 8, "symbol": symbol_of(rows[0]["stage"], seen=rows[0]["seen_in_training"])},
        "hoverinfo": "text",
        "visible": False,
    }
    flips = [row["flip_rate"] or 0.0 for row in rows]
    sizes = [row["num_pairs"] for row in rows]
    bounds = [
        wilson_interval(flip * size, size, confidence=confidence) for flip, size in zip(flips, sizes, strict=True)
    ]
    lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
    hover = [
        f"<b>{label(name)}</b><br>{label(value_name(kind.kind, kind_and_value(row)[1]), limit=120)}<br>"
        f"{percent(flip)} flip ({interval(low, high)})<br>{row['num_pairs']:,} battles"
        for row, flip, low, high in zip(rows, flips, lows, highs, strict=True)
    ]
    trace = go.Scatter(x=flips, error_x=whiskers(flips, lows, highs, color), hovertext=hover, **shared)
    figure.add_trace(trace, row=1, col=1)
    gaps = [row.get("swap_gap") for row in rows]
    texts = [f"<b>{label(name)}</b><br>gap {gap:.3f}" if gap is not None else "" for gap in gaps]
    figure.add_trace(go.Scatter(x=gaps, hovertext=texts, **(shared | {"showlegend": False})), row=1, col=2)
    return 2
