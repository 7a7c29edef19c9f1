"""How all figures look: one font, one colour for each judge, symbols and dashes for stages, numbers written alike."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plotly import graph_objects as go

from wsdm_arena.config.lineup import HELD_OUT_VARIANT

FONT = (
    "Inter, -apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', "
    "'Noto Sans CJK SC', system-ui, sans-serif"
)
INK, MUTED, GRID, RULE, PAPER = "#1f2933", "#5f6b7a", "#e9ecf0", "#c5ccd6", "#ffffff"
BASELINE_COLOR = "#7b8794"
CASCADE_COLORS = ("#6a4c93", "#8c6d1f", "#2f6f73", "#943f5f")

# Hues of Okabe and Ito 2008, "Color universal design", and of Tol 2021, "Colour schemes", dark enough for thin lines.
_PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#b3559a",
    "#c08a00",
    "#3b9bd4",
    "#332288",
    "#882255",
    "#6b7f1a",
    "#117733",
)
_RECIPE = {"gemma": _PALETTE[0], "llama": _PALETTE[1], "gemma_large": _PALETTE[2]}
_SYMBOLS = {
    "teacher": "circle",
    "student": "square",
    "pretraining": "diamond",
    "final": "triangle-up",
    HELD_OUT_VARIANT: "triangle-down",
}
_DASHES = {
    "teacher": "dot",
    "student": "solid",
    "pretraining": "dash",
    "final": "longdash",
    HELD_OUT_VARIANT: "dashdot",
}


def judge_colors(names: Iterable[str]) -> dict[str, str]:
    """Give each judge a colour: the recipe's judges theirs, others one by their name, the next one if it is taken.

    A judge has the same colour in all figures that show the same judges, and as a rule in all others.
    """
    wanted = sorted(set(names))
    colors = {name: _RECIPE[name] for name in wanted if name in _RECIPE}
    for name in (name for name in wanted if name not in _RECIPE):
        digest = hashlib.blake2b(name.encode(errors="replace"), digest_size=4).digest()
        first = int.from_bytes(digest) % len(_PALETTE)
        turned = _PALETTE[first:] + _PALETTE[:first]
        colors[name] = next((color for color in turned if color not in colors.values()), turned[0])
    return colors


def symbol_of(stage: str, *, seen: bool = False) -> str:
    """A stage's marker; hollow where the judge has seen the battles in training."""
    return _SYMBOLS.get(stage, "circle") + ("-open" if seen else "")


def dash_of(stage: str) -> str:
    """A stage's line."""
    return _DASHES.get(stage, "solid")


def transparent(color: str, opacity: float) -> str:
    """A hexadecimal colour as one that lets others through."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def percent(share: float, *, digits: int = 1) -> str:
    """``82.4%``."""
    return f"{share:.{digits}%}"


def points(difference: float) -> str:
    """A difference of two shares with its sign: ``+1.2``, in percentage points."""
    text = f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")
    return "0.0" if text.endswith("0.0") and len(text) == 4 else text


def interval(low: float, high: float) -> str:
    """``80.7 to 84.0%``."""
    return f"{100 * low:.1f} to {high:.1%}"


def p_text(p_value: float) -> str:
    """``p = 0.012``, or ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def whiskers(values: Sequence[float], lows: Sequence[float], highs: Sequence[float], color: str) -> dict[str, Any]:
    """Error bars from ``low`` to ``high``, which need not lie evenly about the value."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - value) for value, high in zip(values, highs, strict=True)],
        "arrayminus": [max(0.0, value - low) for value, low in zip(values, lows, strict=True)],
        "color": color,
        "thickness": 1.4,
        "width": 0,
    }


def style(figure: go.Figure, *, title: str, height: int) -> go.Figure:
    """Give a finished figure the common look.

    The height is a wish, which stands in ``layout.meta.height``: the report fulfils it, Kedro-Viz fits the figure into
    its own frame.
    """
    figure.update_layout(
        template=_template(),
        title={"text": title},
        meta={"height": height},
        autosize=True,
        hoverlabel={"align": "left"},
    )
    return figure


def empty_figure(title: str, reason: str) -> go.Figure:
    """A figure that says why it shows nothing."""
    figure = go.Figure()
    figure.add_annotation(text=reason, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"color": MUTED})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return style(figure, title=title, height=160)


def menu(buttons: Sequence[Mapping[str, Any]], *, active: int = 0) -> list[dict[str, Any]]:
    """A choice above the figure's left corner; none where there is nothing to choose."""
    if len(buttons) < 2:
        return []
    return [
        {
            "buttons": list(buttons),
            "active": active,
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "pad": {"b": 14, "l": 0},
            "bgcolor": PAPER,
            "bordercolor": RULE,
            "font": {"size": 12},
            "showactive": True,
        }
    ]


LEGEND_BELOW = {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}


def panel_title(text: str, *, x: str, y: str) -> dict[str, Any]:
    """A heading above the left corner of a panel, ``x`` and ``y`` naming its axes (``x2``, ``y2``)."""
    return {
        "text": text,
        "x": 0,
        "xref": f"{x} domain",
        "xanchor": "left",
        "y": 1,
        "yref": f"{y} domain",
        "yanchor": "bottom",
        "yshift": 4,
        "showarrow": False,
        "align": "left",
        "font": {"size": 12, "color": INK},
    }


def _template() -> go.layout.Template:
    axis = {
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"size": 12, "color": MUTED},
        "title": {"font": {"size": 12, "color": MUTED}, "standoff": 10},
    }
    layout = {
        "font": {"family": FONT, "size": 13, "color": INK},
        "title": {"font": {"size": 16, "color": INK}, "x": 0, "xref": "paper", "xanchor": "left"},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "colorway": list(_PALETTE),
        "margin": {"l": 12, "r": 24, "t": 56, "b": 40},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": RULE, "font": {"family": FONT, "size": 12, "color": INK}},
        "legend": {"font": {"size": 12, "color": INK}, "itemsizing": "trace", "itemwidth": 36, "title": {"text": ""}},
        "xaxis": axis,
        "yaxis": axis | {"ticklabelstandoff": 6},
    }
    return go.layout.Template(layout=layout)
