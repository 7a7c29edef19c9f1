"""How often judges, cascades and baselines name the winner."""

from collections.abc import Mapping, Sequence

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from wsdm_arena.analysis.figures.names import (
    SUBMISSION_STAGE,
    is_baseline,
    is_ceiling,
    is_start,
    label,
    stage_order,
    training_name,
)
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    CASCADE_COLORS,
    MUTED,
    empty_figure,
    interval,
    judge_colors,
    panel_title,
    percent,
    style,
    symbol_of,
    transparent,
    whiskers,
)
from wsdm_arena.scoring.scoreboard import ScoreboardRow, slice_of

_TITLE = "Accuracy"
_ROW_PIXELS, _PANEL_PIXELS = 26, 74


def draw_accuracy(rows: Sequence[ScoreboardRow], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw a dot with its interval for each judge, cascade and baseline, in a panel a dataset.

    Args:
        rows: The scoreboard; slices, and what trainings started from, are left out.
        colors: By judge, where several figures are to agree.
    """
    panels = _panels(rows)
    if not panels:
        return empty_figure(_TITLE, "The scoreboard is empty.")
    colors = colors or judge_colors(row["judge"] for row in rows if not is_baseline(row))
    sizes = [len([row for row in panel if not is_ceiling(row)]) or 1 for panel in panels.values()]
    height = _ROW_PIXELS * sum(sizes) + _PANEL_PIXELS * len(panels)
    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        row_heights=[float(size) for size in sizes],
        vertical_spacing=min(0.2, 44 / height) if len(panels) > 1 else 0,
    )
    for number, (dataset, panel) in enumerate(panels.items(), start=1):
        _draw_panel(figure, number, dataset, panel, colors, _column(panels))
    figure.update_xaxes(tickformat=".0%", range=_range(panels))
    figure.update_xaxes(title_text="accuracy", row=len(panels), col=1)
    figure.update_layout(showlegend=False)
    return style(figure, title=_TITLE, height=height + 40)


def _panels(rows: Sequence[ScoreboardRow]) -> dict[str, list[ScoreboardRow]]:
    """Rows of whole datasets, judges first; the datasets that most judges are scored on first."""
    panels: dict[str, list[ScoreboardRow]] = {}
    for row in rows:
        if not slice_of(row) and not is_start(row):
            panels.setdefault(row["dataset"], []).append(row)
    for panel in panels.values():
        panel.sort(key=lambda row: (is_baseline(row), stage_order(row["stage"])))
    return dict(sorted(panels.items(), key=lambda item: -sum(not is_baseline(row) for row in item[1])))


def _draw_panel(
    figure: go.Figure,
    number: int,
    dataset: str,
    panel: Sequence[ScoreboardRow],
    colors: Mapping[str, str],
    column: float,
) -> None:
    axis = "" if number == 1 else str(number)
    shown = [row for row in panel if not is_ceiling(row)]
    names = [_row_label(row) for row in shown]
    for name, row in zip(names, shown, strict=True):
        figure.add_trace(_dot(name, row, _color(row, colors)), row=number, col=1)
    figure.add_trace(_numbers(names, shown, column), row=number, col=1)
    title = f"<b>{label(dataset)}</b>, {max(row['num_pairs'] for row in panel):,} pairs"
    figure.add_annotation(panel_title(title, x="x" + axis, y="y" + axis))
    for row in panel:
        if is_ceiling(row):
            _mark_ceiling(figure, number, axis, row)
    figure.update_yaxes(
        categoryorder="array", categoryarray=names, autorange="reversed", showgrid=False, row=number, col=1
    )


def _row_label(row: ScoreboardRow) -> str:
    kind = "cascade " if row["stage"] == SUBMISSION_STAGE else ""
    name = str(row["judge"]) if kind else training_name(row)
    return kind + label(name) + (" <i>(seen)</i>" if row["seen_in_training"] else "")


def _color(row: ScoreboardRow, colors: Mapping[str, str]) -> str:
    if is_baseline(row):
        return BASELINE_COLOR
    return CASCADE_COLORS[0] if row["stage"] == SUBMISSION_STAGE else colors.get(row["judge"], BASELINE_COLOR)


def _dot(name: str, row: ScoreboardRow, color: str) -> go.Scatter:
    numbers = f"{percent(row['accuracy'])} ({interval(row['accuracy_low'], row['accuracy_high'])})"
    hover = f"<b>{name}</b><br>accuracy {numbers}<br>{row['num_pairs']:,} pairs<br>log loss {row['log_loss']:.3f}"
    hover += f"<br>ECE {row['ece']:.3f}"
    if row["seen_in_training"]:
        hover += "<br>has been trained on these battles: no honest score"
    return go.Scatter(
        x=[row["accuracy"]],
        y=[name],
        name=name,
        mode="markers",
        marker={"color": color, "size": 10, "symbol": symbol_of(row["stage"], seen=row["seen_in_training"])},
        error_x=whiskers([row["accuracy"]], [row["accuracy_low"]], [row["accuracy_high"]], color),
        hovertext=[hover],
        hoverinfo="text",
    )


def _bounds(panels: Mapping[str, Sequence[ScoreboardRow]]) -> tuple[float, float]:
    rows = [row for panel in panels.values() for row in panel]
    return min(row["accuracy_low"] for row in rows), max(row["accuracy_high"] for row in rows)


def _column(panels: Mapping[str, Sequence[ScoreboardRow]]) -> float:
    """Where the numbers stand, to the right of everything."""
    low, high = _bounds(panels)
    return high + 0.015 * max(high - low, 0.05)


def _range(panels: Mapping[str, Sequence[ScoreboardRow]]) -> list[float]:
    low, high = _bounds(panels)
    span = max(high - low, 0.05)
    return [low - 0.03 * span, high + 0.1 * span]


def _numbers(names: Sequence[str], rows: Sequence[ScoreboardRow], column: float) -> go.Scatter:
    """Accuracies as text, one below the other."""
    return go.Scatter(
        x=[column] * len(rows),
        y=list(names),
        text=[percent(row["accuracy"]) for row in rows],
        mode="text",
        textposition="middle right",
        textfont={"size": 11, "color": MUTED},
        cliponaxis=False,
        hoverinfo="skip",
    )


def _mark_ceiling(figure: go.Figure, number: int, axis: str, row: ScoreboardRow) -> None:
    figure.add_vrect(
        x0=row["accuracy_low"],
        x1=row["accuracy_high"],
        fillcolor=transparent(BASELINE_COLOR, 0.13),
        line_width=0,
        layer="below",
        row=number,
        col=1,
    )
    figure.add_vline(x=row["accuracy"], line={"color": BASELINE_COLOR, "width": 1, "dash": "dash"}, row=number, col=1)
    figure.add_annotation(
        text=f"ceiling {percent(row['accuracy'])}",
        x=row["accuracy_low"],
        xref="x" + axis,
        xanchor="right",
        xshift=-3,
        y=0,
        yref=f"y{axis} domain",
        yanchor="bottom",
        showarrow=False,
        font={"size": 11, "color": MUTED},
    )
