"""How trainings went."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from wsdm_arena.analysis.figures.names import label, stage_order
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    LEGEND_BELOW,
    RULE,
    empty_figure,
    judge_colors,
    menu,
    panel_title,
    style,
    transparent,
)

_TITLE = "Learning curves"
_COLUMNS, _ROW_PIXELS = 3, 270


class _Measure(NamedTuple):
    """A column of the metrics."""

    title: str
    format: str
    smoothed: bool


_MEASURES = {
    "loss": _Measure("training loss (nats)", ".4f", True),
    "learning_rate": _Measure("learning rate", ".2e", False),
    "gradient_norm": _Measure("gradient norm", ".3f", True),
    "tokens_per_s": _Measure("tokens per second", ",.0f", True),
}


def draw_learning_curves(metrics: Mapping[str, pd.DataFrame], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw what trainings logged, a panel a stage, one measure at a time: loss, learning rate, gradient norm, speed.

    Faint dots are what was logged; the line is a moving average of it.

    Args:
        metrics: By training, ``teacher.gemma``: a row a logged update.
        colors: By judge, where several figures are to agree.
    """
    stages = _by_stage(metrics)
    if not stages:
        return empty_figure(_TITLE, "No training has logged anything.")
    colors = colors or judge_colors(_judge(name) for name in metrics)
    columns = min(_COLUMNS, len(stages))
    rows = -(-len(stages) // columns)
    height = _ROW_PIXELS * rows + 110
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes="all", horizontal_spacing=0.05, vertical_spacing=min(0.3, 90 / height)
    )
    owners: list[str] = []
    for number, (stage, trainings) in enumerate(stages.items()):
        row, column = number // columns + 1, number % columns + 1
        for name in trainings:
            for trace, measure in _traces(name, metrics[name], colors):
                figure.add_trace(trace, row=row, col=column)
                owners.append(measure)
        axis = "" if number == 0 else str(number + 1)
        figure.add_annotation(panel_title(f"<b>{label(stage)}</b>", x="x" + axis, y="y" + axis))
        figure.update_xaxes(title_text="update", rangemode="tozero", row=row, col=column)
    _one_legend_entry_each(figure, owners)
    present = [measure for measure in _MEASURES if measure in owners]
    figure.update_layout(legend=LEGEND_BELOW, updatemenus=menu(_buttons(present, owners, rows, columns)))
    for chosen in figure.layout.updatemenus:
        chosen.pad.b = 34  # above the headings of the panels
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text=_MEASURES[present[0]].title, row=row, col=1)
    return style(figure, title=_TITLE, height=height)


def draw_learning_curve(metrics: pd.DataFrame, name: str, *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw one training's loss above its learning rate; dotted lines part its phases.

    Args:
        metrics: A row a logged update.
        name: ``teacher.gemma``.
        colors: By judge, where several figures are to agree.
    """
    title = f"Training of {label(name)}"
    if not len(metrics):
        return empty_figure(title, "Nothing has been logged.")
    colors = colors or judge_colors([_judge(name)])
    measures = [measure for measure in ("loss", "learning_rate") if measure in metrics]
    figure = make_subplots(rows=len(measures), cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for trace, measure in _traces(name, metrics, colors):
        if measure in measures:
            row = measures.index(measure) + 1
            figure.add_trace(trace.update(visible=True, showlegend=False), row=row, col=1)
            figure.update_yaxes(title_text=_MEASURES[measure].title, row=row, col=1)
    for update in _phase_ends(metrics):
        figure.add_vline(x=update, line={"color": RULE, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="update", row=len(measures), col=1)
    return style(figure, title=title, height=420)


def smoothed(values: pd.Series) -> pd.Series:
    """Average that forgets: over a tenth of the training, as pandas' exponentially weighted mean."""
    return values.ewm(span=max(3.0, len(values) / 10)).mean()


def _by_stage(metrics: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    stages: dict[str, list[str]] = {}
    for name, table in metrics.items():
        if len(table) and "update" in table and any(measure in table for measure in _MEASURES):
            stages.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return dict(sorted(stages.items(), key=lambda item: stage_order(item[0])))


def _judge(name: str) -> str:
    return name.rpartition(".")[2]


def _traces(name: str, table: pd.DataFrame, colors: Mapping[str, str]) -> Iterator[tuple[go.Scatter, str]]:
    """A training's traces, with the measure that each shows; only those of the loss are visible."""
    color, judge = colors.get(_judge(name), BASELINE_COLOR), label(_judge(name))
    for measure in (measure for measure in _MEASURES if measure in table):
        how = _MEASURES[measure]
        logged = table[["update", measure]].dropna()
        shared: dict[str, Any] = {
            "x": logged["update"].tolist(),
            "name": judge,
            "legendgroup": judge,
            "visible": measure == "loss",
        }
        if how.smoothed:
            dots = {"color": transparent(color, 0.3), "size": 4}
            faint = shared | {"mode": "markers", "marker": dots, "showlegend": False, "hoverinfo": "skip"}
            yield go.Scatter(y=logged[measure].tolist(), **faint), measure
        line = smoothed(logged[measure]) if how.smoothed else logged[measure]
        texts = [
            f"<b>{label(name)}</b>, update {update:,}<br>{how.title}: {value:{how.format}}"
            + (f"<br>smoothed: {mean:{how.format}}" if how.smoothed else "")
            for update, value, mean in zip(logged["update"], logged[measure], line, strict=True)
        ]
        drawn = {"mode": "lines", "line": {"color": color, "width": 2}, "hovertext": texts, "hoverinfo": "text"}
        yield go.Scatter(y=line.tolist(), **(shared | drawn)), measure


def _one_legend_entry_each(figure: go.Figure, owners: Sequence[str]) -> None:
    """Of each judge the first line of each measure stands in the legend; plotly leaves out those that are hidden."""
    known: set[tuple[str, str]] = set()
    for trace, measure in zip(figure.data, owners, strict=True):
        if trace.mode == "lines":
            trace.showlegend = (trace.name, measure) not in known
            known.add((trace.name, measure))


def _buttons(present: list[str], owners: list[str], rows: int, columns: int) -> list[dict[str, Any]]:
    buttons = []
    for measure in present:
        firsts = [number * columns + 1 for number in range(rows)]
        titles = {f"yaxis{first if first > 1 else ''}.title.text": _MEASURES[measure].title for first in firsts}
        visible = {"visible": [owner == measure for owner in owners]}
        buttons.append({"label": _MEASURES[measure].title, "method": "update", "args": [visible, titles]})
    return buttons


def _phase_ends(metrics: pd.DataFrame) -> list[float]:
    """Updates between the last one logged of a phase and the first one of the next."""
    if "phase" not in metrics or metrics["phase"].nunique() < 2:
        return []
    changes = metrics["phase"].ne(metrics["phase"].shift()).to_numpy().nonzero()[0][1:]
    updates = metrics["update"].to_numpy()
    return [float(updates[at - 1] + updates[at]) / 2 for at in changes]
