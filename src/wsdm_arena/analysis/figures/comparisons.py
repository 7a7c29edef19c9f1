"""Which differences between judges are more than chance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plotly import graph_objects as go

from wsdm_arena.analysis.figures.names import label
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    GRID,
    INK,
    MUTED,
    empty_figure,
    judge_colors,
    menu,
    p_text,
    points,
    style,
    whiskers,
)

_TITLE = "Differences between judges on the same battles"
_ALL = "all pairs of judges"
SIGNIFICANCE = 0.05
"""Expected share of false differences among those that figures and report call real."""


def adjusted_p_values(comparisons: Sequence[Mapping[str, Any]]) -> list[float]:
    """P values that allow for how many pairs were tested (Benjamini and Hochberg 1995: false discovery rate)."""
    from scipy.stats import false_discovery_control

    if not comparisons:
        return []
    return [float(value) for value in false_discovery_control([row["p_value"] for row in comparisons])]


def draw_comparisons(comparisons: Sequence[Mapping[str, Any]], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw the differences in accuracy with intervals and p values: all of them, or one judge against the others.

    A difference that is real after allowing for the number of pairs is filled, in the colour of the better judge.

    Args:
        comparisons: As :func:`wsdm_arena.scoring.comparisons.compare_judges` gives them.
        colors: By judge, where several figures are to agree.
    """
    if not comparisons:
        return empty_figure(_TITLE, "There is only one judge that has not seen the battles.")
    names = list(dict.fromkeys(row[side] for side in ("first", "second") for row in comparisons))
    colors = colors or judge_colors(_judge(name) for name in names)
    tested = [dict(row) | {"adjusted": p} for row, p in zip(comparisons, adjusted_p_values(comparisons), strict=True)]
    choices = {_ALL: tested}
    if len(names) > 2:
        choices |= {
            name: [_seen_from(name, row) for row in tested if name in (row["first"], row["second"])] for name in names
        }
    figure = go.Figure()
    for number, rows in enumerate(choices.values()):
        for part in (_dots(rows, colors), _numbers(rows, _column(rows))):
            figure.add_trace(part.update(visible=number == 0))
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    buttons = [_button(number, choice, rows, len(choices)) for number, (choice, rows) in enumerate(choices.items())]
    title = "difference in accuracy (percentage points; right: the first is better)"
    figure.update_xaxes(title_text=title, range=_range(tested))
    figure.update_yaxes(categoryorder="array", categoryarray=[_pair(row) for row in tested], autorange="reversed")
    figure.update_yaxes(gridcolor=GRID, showgrid=False)
    figure.update_layout(showlegend=False, updatemenus=menu(buttons))
    return style(figure, title=_TITLE, height=_height(tested))


def _height(rows: Sequence[Mapping[str, Any]]) -> int:
    return max(240, 150 + 23 * len(rows))


def _judge(training: str) -> str:
    return training.rpartition(".")[2]


def _seen_from(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The same comparison with ``name`` as the first."""
    if row["first"] == name:
        return dict(row)
    turned = {
        "first": row["second"],
        "second": row["first"],
        "difference": -row["difference"],
        "difference_low": -row["difference_high"],
        "difference_high": -row["difference_low"],
        "num_first_better": row["num_second_better"],
        "num_second_better": row["num_first_better"],
    }
    return dict(row) | turned


def _pair(row: Mapping[str, Any]) -> str:
    return f"{label(row['first'])} <span style='color:{MUTED}'>−</span> {label(row['second'])}"


def _dots(rows: Sequence[Mapping[str, Any]], colors: Mapping[str, str]) -> go.Scatter:
    values, lows, highs = (
        [100 * row[key] for row in rows] for key in ("difference", "difference_low", "difference_high")
    )
    real = [row["adjusted"] < SIGNIFICANCE for row in rows]
    better = [row["first"] if row["difference"] > 0 else row["second"] for row in rows]
    return go.Scatter(
        x=values,
        y=[_pair(row) for row in rows],
        mode="markers",
        marker={
            "size": 9,
            "symbol": ["circle" if one else "circle-open" for one in real],
            "color": [
                colors.get(_judge(name), INK) if one else BASELINE_COLOR for one, name in zip(real, better, strict=True)
            ],
        },
        error_x=whiskers(values, lows, highs, BASELINE_COLOR),
        hovertext=[_hover(row) for row in rows],
        hoverinfo="text",
    )


def _bounds(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Of all intervals and of zero, in percentage points; an interval of one battle has no bounds."""
    ends = [100 * row[key] for row in rows for key in ("difference_low", "difference_high")]
    known = [end for end in ends if math.isfinite(end)]
    return min([0.0, *known]), max([0.0, *known])


def _column(rows: Sequence[Mapping[str, Any]]) -> float:
    """Where the numbers stand, to the right of all intervals."""
    low, high = _bounds(rows)
    return high + 0.03 * max(high - low, 0.1)


def _range(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of the axis, with room for the numbers on the right."""
    low, high = _bounds(rows)
    span = max(high - low, 0.1)
    return [low - 0.05 * span, high + 0.33 * span]


def _numbers(rows: Sequence[Mapping[str, Any]], column: float) -> go.Scatter:
    """Differences and p values as text, one below the other."""
    return go.Scatter(
        x=[column] * len(rows),
        y=[_pair(row) for row in rows],
        text=[f"{points(row['difference'])}, {p_text(row['p_value'])}" for row in rows],
        mode="text",
        textposition="middle right",
        textfont={"size": 11, "color": MUTED},
        cliponaxis=False,
        hoverinfo="skip",
    )


def _hover(row: Mapping[str, Any]) -> str:
    first, second = label(row["first"]), label(row["second"])
    bounds = f"{points(row['difference_low'])} to {points(row['difference_high'])}"
    return (
        f"<b>{first} − {second}</b><br>{points(row['difference'])} points ({bounds})<br>"
        f"only {first} right: {row['num_first_better']:,}<br>only {second} right: {row['num_second_better']:,}<br>"
        f"{row['num_battles']:,} battles; {p_text(row['p_value'])}, adjusted {p_text(row['adjusted'])}"
    )


def _button(number: int, choice: str, rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, Any]:
    visible = [shown == number for shown in range(count) for _ in range(2)]  # dots and numbers
    layout = {
        "yaxis.categoryarray": [_pair(row) for row in rows],
        "meta": {"height": _height(rows)},
        "xaxis.range": _range(rows),
    }
    name = choice if number == 0 else f"{label(choice)} against the others"
    return {"label": name, "method": "update", "args": [{"visible": visible}, layout]}
