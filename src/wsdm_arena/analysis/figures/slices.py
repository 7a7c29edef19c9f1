"""Accuracy for parts of the battles: languages, lengths, pairs of models, sources."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plotly import graph_objects as go

from wsdm_arena.analysis.figures.names import (
    best_of_each,
    dataset_of,
    held_out_dataset,
    is_baseline,
    is_ceiling,
    is_start,
    kind_and_value,
    kind_name,
    label,
    stage_order,
    training_name,
    value_name,
)
from wsdm_arena.analysis.figures.theme import (
    BASELINE_COLOR,
    LEGEND_BELOW,
    empty_figure,
    interval,
    judge_colors,
    menu,
    percent,
    style,
    symbol_of,
    whiskers,
)
from wsdm_arena.scoring.scoreboard import BASELINE_STAGE, ScoreboardRow, slice_of

_TITLE = "Accuracy by part of the battles"
_KINDS = ("language", "length", "models", "truncated", "source", "flaw")


@dataclass(frozen=True)
class Slices:
    """The battles cut in one way."""

    kind: str
    """Such as ``language``."""
    categories: Mapping[str, str]
    """From a slice's value to its name in the figure, in the scoreboard's order."""
    rows: Mapping[str, Sequence[ScoreboardRow]]
    """By judge or baseline, judges first."""
    shown: frozenset[str]
    """Whom the figure shows before anybody clicks: the best honest training of each judge, and the ceiling."""

    @property
    def height(self) -> int:
        """Pixels that its figure wants."""
        return max(300, 170 + len(self.categories) * max(26, 13 * len(self.shown)))


def slices_of(rows: Sequence[ScoreboardRow]) -> list[Slices]:
    """Cut the battles that most judges are scored on, in each way that the scoreboard knows."""
    dataset = held_out_dataset(rows)
    scored = [row for row in rows if dataset_of(row) == dataset and not is_start(row)]
    scored.sort(key=lambda row: (is_baseline(row), stage_order(row["stage"])))
    whole = [row for row in scored if not slice_of(row) and not is_baseline(row)]
    best = best_of_each([(training_name(row), row["judge"], row["accuracy"], row["seen_in_training"]) for row in whole])
    shown = best | {training_name(row) for row in scored if is_ceiling(row)}
    kinds = dict.fromkeys(kind_and_value(row)[0] for row in scored if slice_of(row))
    ordered = [kind for kind in _KINDS if kind in kinds] + [kind for kind in kinds if kind not in _KINDS]
    return [_slices(kind, [row for row in scored if kind_and_value(row)[0] == kind], shown) for kind in ordered]


def kind_buttons(kinds: Sequence[Slices], owners: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Buttons that show the traces of one kind each.

    Args:
        kinds: One button each.
        owners: Kind and training of each trace of the figure.
    """
    for kind in kinds:
        visible = [_visibility(kind, *owner) for owner in owners]
        yield {
            "label": f"by {kind_name(kind.kind)}",
            "method": "update",
            "args": [
                {"visible": visible},
                {"yaxis.categoryarray": list(kind.categories.values()), "meta": {"height": kind.height}},
            ],
        }


def draw_slices(rows: Sequence[ScoreboardRow], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Draw accuracy with intervals by language, length, models, truncation and source, one of them at a time.

    At first each judge's best honest training is shown, and the ceiling; a click in the legend brings the others.

    Args:
        rows: The scoreboard; of its slices, those of the battles that most judges are scored on.
        colors: By judge, where several figures are to agree.
    """
    kinds = slices_of(rows)
    if not kinds:
        return empty_figure(_TITLE, "The scoreboard has no slices.")
    colors = colors or judge_colors(row["judge"] for row in rows if not is_baseline(row))
    figure, owners = go.Figure(), []
    for kind in kinds:
        for name, scored in kind.rows.items():
            figure.add_trace(_trace(kind, name, scored, colors, visible=kind is kinds[0]))
            owners.append((kind.kind, name))
    figure.update_xaxes(tickformat=".0%", title_text="accuracy", range=_range(kinds[0]))
    figure.update_yaxes(
        categoryorder="array", categoryarray=list(kinds[0].categories.values()), autorange="reversed", showgrid=True
    )
    buttons = list(kind_buttons(kinds, owners))
    for button, kind in zip(buttons, kinds, strict=True):
        button["args"][1]["xaxis.range"] = _range(kind)
    figure.update_layout(scattermode="group", scattergap=0.35, legend=LEGEND_BELOW, updatemenus=menu(buttons))
    return style(figure, title=_TITLE, height=kinds[0].height)


def _slices(kind: str, rows: Sequence[ScoreboardRow], shown: set[str]) -> Slices:
    sizes: dict[str, int] = {}
    by_name: dict[str, list[ScoreboardRow]] = {}
    for row in rows:
        value = kind_and_value(row)[1]
        sizes[value] = max(sizes.get(value, 0), row["num_pairs"])
        by_name.setdefault(training_name(row), []).append(row)
    categories: dict[str, str] = {}
    for value, size in sizes.items():
        name = f"{label(value_name(kind, value), limit=34)} · {size:,}"
        categories[value] = name if name not in categories.values() else f"{name} ({len(categories)})"
    return Slices(kind, categories, by_name, frozenset(shown & set(by_name)))


def restricted(kind: Slices, key: str) -> Slices:
    """The same without rows that lack a number."""
    rows = {name: [row for row in scored if row.get(key) is not None] for name, scored in kind.rows.items()}
    rows = {name: scored for name, scored in rows.items() if scored}
    values = {kind_and_value(row)[1] for scored in rows.values() for row in scored}
    categories = {value: name for value, name in kind.categories.items() if value in values}
    return replace(kind, rows=rows, categories=categories, shown=kind.shown & set(rows))


def slot_of(row: ScoreboardRow) -> str:
    """Whose place within a category a row takes: trainings of one judge share it, and all baselines do."""
    return BASELINE_STAGE if is_baseline(row) else label(row["judge"])


def _range(kind: Slices) -> list[float]:
    """Of the axis: all judges and the ceiling fit in; rules that are clicked in may not."""
    rows = [row for scored in kind.rows.values() for row in scored]
    shown = [row for row in rows if is_ceiling(row) or not is_baseline(row)] or rows
    low, high = min(row["accuracy_low"] for row in shown), max(row["accuracy_high"] for row in shown)
    return [max(0.0, low - 0.03), min(1.0, high) + 0.02]


def _visibility(kind: Slices, of_kind: str, name: str) -> bool | str:
    return (name in kind.shown or "legendonly") if of_kind == kind.kind else False


def _trace(
    kind: Slices, name: str, rows: Sequence[ScoreboardRow], colors: Mapping[str, str], *, visible: bool
) -> go.Scatter:
    first = rows[0]
    color = BASELINE_COLOR if is_baseline(first) else colors.get(first["judge"], BASELINE_COLOR)
    symbol = "line-ns-open" if is_ceiling(first) else symbol_of(first["stage"], seen=first["seen_in_training"])
    values, lows, highs = ([row[key] for row in rows] for key in ("accuracy", "accuracy_low", "accuracy_high"))
    seen = " (seen)" if first["seen_in_training"] else ""
    return go.Scatter(
        x=values,
        y=[kind.categories[kind_and_value(row)[1]] for row in rows],
        name=label(name) + seen,
        orientation="h",
        offsetgroup=slot_of(first),
        mode="markers",
        marker={"color": color, "size": 8, "symbol": symbol, "line": {"color": color, "width": 1.5}},
        error_x=whiskers(values, lows, highs, color),
        hovertext=[_hover(kind, name, row) + seen for row in rows],
        hoverinfo="text",
        visible=_visibility(kind, kind.kind, name) if visible else False,
    )


def _hover(kind: Slices, name: str, row: ScoreboardRow) -> str:
    value = label(value_name(kind.kind, kind_and_value(row)[1]), limit=120)
    numbers = f"{percent(row['accuracy'])} ({interval(row['accuracy_low'], row['accuracy_high'])})"
    return f"<b>{label(name)}</b><br>{value}<br>accuracy {numbers}<br>{row['num_pairs']:,} pairs"
