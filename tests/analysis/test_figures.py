"""Figures show the numbers that they are given, and names as text."""

import json
import math
import subprocess
import sys

import pytest

from tests.analysis.report_cases import HOSTILE, analysis, cascade, comparison, everything, metrics, row, share
from wsdm_arena.analysis import figures
from wsdm_arena.analysis.figures import theme
from wsdm_arena.analysis.figures.names import best_of_each, label, language_name, plain


def traces(figure, **having):
    return [trace for trace in figure.data if all(getattr(trace, key) == value for key, value in having.items())]


def points_of(figure):
    """All dots with a hover text, with the trace each belongs to."""
    return [(trace, at) for trace in figure.data if trace.hovertext for at in range(len(trace.hovertext))]


def drawn(arguments):
    rows, analyses = arguments["rows"], arguments["analyses"]
    yield figures.draw_accuracy(rows)
    yield figures.draw_slices(rows)
    yield figures.draw_calibration(analyses)
    yield figures.draw_reliability(analyses[1])
    yield figures.draw_swap_audit(analyses, rows)
    yield figures.draw_length_bias(analyses)
    yield figures.draw_abstention(analyses)
    yield figures.draw_cascade_frontier(arguments["cascades"])
    yield figures.draw_comparisons(arguments["comparisons"])
    yield figures.draw_learning_curves(arguments["learning_metrics"])
    for name, table in arguments["learning_metrics"].items():
        yield figures.draw_learning_curve(table, name)


def test_accuracy_has_a_dot_with_its_interval_for_each_row_but_the_ceiling():
    figure = figures.draw_accuracy(everything()["rows"])
    dots = {(trace.y[0], trace.xaxis): trace for trace in traces(figure, mode="markers")}
    assert {name for name, _ in dots} == {
        "teacher.gemma",
        "teacher.odd",
        "student.llama",
        "final.llama <i>(seen)</i>",
        "tfidf",
        "cascade student",
    }
    dot = dots["student.llama", "x"]
    assert dot.x == (0.8,)
    assert "80.0% (70.0 to 79.0%)" in dot.hovertext[0]
    assert "100 pairs" in dot.hovertext[0]
    assert dots["teacher.gemma", "x"].error_x.arrayminus == pytest.approx([0.0])
    assert dots["teacher.gemma", "x"].error_x.array == pytest.approx([0.09])
    assert dots["final.llama <i>(seen)</i>", "x"].marker.symbol.endswith("-open")
    assert [note.text for note in figure.layout.annotations if "ceiling" in note.text] == ["ceiling 90.0%"]


def test_slices_show_each_judges_best_honest_training_at_first():
    rows = [row("teacher", "gemma", accuracy=0.7), row("student", "gemma", accuracy=0.8)]
    rows += [row("final", "gemma", accuracy=0.9, seen_in_training=True), row("baseline", "ceiling", accuracy=0.95)]
    rows += [
        row(**(of | {"part": "language=de", "num_pairs": 40, "dataset": "battles[fold 0] language=de"})) for of in rows
    ]
    rows += [row("teacher", "gemma", "length=alike"), row("teacher", "gemma", "truncated=no")]
    figure = figures.draw_slices(rows)
    german = [trace for trace in figure.data if trace.y == ("German · 40",)]
    assert {trace.name: trace.visible for trace in german} == {
        "teacher.gemma": "legendonly",
        "student.gemma": True,
        "final.gemma (seen)": "legendonly",
        "ceiling": True,
    }
    assert {trace.name: trace.x for trace in german}["student.gemma"] == (0.8,)
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == [
        "by language",
        "by difference in length",
        "by cut to the length limit or not",
    ]
    for button in buttons:
        assert len(button.args[0]["visible"]) == len(figure.data)
    chosen = [trace for trace, shown in zip(figure.data, buttons[1].args[0]["visible"], strict=True) if shown]
    assert [trace.y for trace in chosen] == [("alike · 100",)]


def test_sixty_languages_have_sixty_lines_and_room_for_them():
    rows = [row("teacher", "gemma")] + [row("teacher", "gemma", f"language=x{at}") for at in range(60)]
    figure = figures.draw_slices(rows)
    assert len(set(figure.layout.yaxis.categoryarray)) == 60
    assert figure.layout.meta["height"] > 60 * 20


def test_names_that_look_alike_when_cut_stay_apart():
    rows = [row("teacher", "gemma")] + [row("teacher", "gemma", f"models={'m' * 60}{at}") for at in range(3)]
    assert len(set(figures.draw_slices(rows).data[0].y)) == 3


def test_reliability_has_the_bins_of_both_temperatures():
    figure = figures.draw_calibration([analysis("teacher", "gemma"), analysis("final", "llama", seen_in_training=True)])
    before, after = traces(figure, name="as trained"), traces(figure, name="after the temperature")
    assert [len(trace.x) for trace in before] == [3, 3]
    assert [len(trace.x) for trace in after] == [2, 2]
    assert after[0].y == (0.65, 0.8)
    assert after[0].error_y.arrayminus == pytest.approx((0.05, 0.05))
    headings = [note.text for note in figure.layout.annotations]
    assert sum("seen" in heading for heading in headings) == 1


def test_reliability_of_three_classes_begins_at_a_third():
    two, three = (figures.draw_reliability(analysis("teacher", "gemma", classes=classes)) for classes in (2, 3))
    assert two.layout.xaxis.range[0] == pytest.approx(0.48)
    assert three.layout.xaxis.range[0] == pytest.approx(1 / 3 - 0.02)


def test_the_swap_audit_leaves_out_judges_that_read_one_order():
    figure = figures.draw_swap_audit([analysis("teacher", "gemma"), analysis("teacher", "llama", swap=None)], [])
    assert [(trace.y, trace.x) for trace in figure.data] == [(("teacher.gemma",), (0.2,)), (("teacher.gemma",), (0.1,))]
    assert not figure.layout.updatemenus
    nobody = figures.draw_swap_audit([analysis("teacher", "llama", swap=None)], [])
    assert [note.text for note in nobody.layout.annotations] == ["No judge has read both orders."]


def test_the_swap_audit_has_flips_and_gaps_by_slice():
    rows = [row("teacher", "gemma"), row("teacher", "gemma", "language=de", flip_rate=0.3, swap_gap=None)]
    rows.append(row("teacher", "gemma", "language=fr", flip_rate=None))
    figure = figures.draw_swap_audit([analysis("teacher", "gemma")], rows)
    flips, gaps = figure.data[2:]
    assert flips.y == gaps.y == ("German · 100",)
    assert flips.x == (0.3,)
    assert gaps.x == (None,)
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["all pairs", "by language"]
    narrow = figures.draw_swap_audit([analysis("teacher", "gemma")], rows, confidence=0.5).data[2]
    assert narrow.error_x.array[0] < flips.error_x.array[0] / 2


def test_length_abstention_and_frontier_show_their_numbers():
    judge = analysis("teacher", "gemma")
    length = figures.draw_length_bias([judge])
    assert length.data[0].y == (0.5, 0.5)
    assert length.data[1].y == (0.6, 0.6)
    assert length.data[2].x == (0.8, 0.7)
    curve = figures.draw_abstention([judge]).data[0]
    assert curve.x == tuple(at / 10 for at in range(2, 11))  # ten battles are too few
    assert curve.y[-1] == 0.25
    frontier = figures.draw_cascade_frontier([cascade()])
    stars = traces(frontier, mode="markers")
    assert [(star.x, star.y) for star in stars] == [((0.5,), (0.72,)), ((4.0,), (0.72,))]


def test_a_cascade_that_was_never_timed_has_no_panel_of_seconds():
    points = [point | {"seconds": None} for point in cascade()["points"]]
    figure = figures.draw_cascade_frontier([cascade(points=points, in_use=None)])
    assert {trace.xaxis for trace in figure.data} == {"x"}
    assert not traces(figure, mode="markers")


def test_comparisons_can_be_seen_from_either_side():
    figure = figures.draw_comparisons(
        [comparison("b.x", "a.x", 0.02), comparison("c.x", "a.x", -0.03), comparison("c.x", "b.x", 0.0, 1.0)]
    )
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == [
        "all pairs of judges",
        "b.x against the others",
        "c.x against the others",
        "a.x against the others",
    ]
    assert figure.data[0].x == pytest.approx((2.0, -3.0, 0.0))
    assert figure.data[0].marker.symbol == ("circle", "circle", "circle-open")
    last = next(trace for trace, shown in zip(figure.data, buttons[3].args[0]["visible"], strict=True) if shown)
    assert last.x == pytest.approx((-2.0, 3.0))
    assert last.error_x.arrayminus == pytest.approx((3.0, 3.0))
    assert last.error_x.array == pytest.approx((1.0, 1.0))


def test_a_comparison_without_interval_is_drawn():
    lone = comparison("b.x", "a.x") | {"difference_low": math.nan, "difference_high": math.nan}
    figure = figures.draw_comparisons([lone])
    assert all(map(math.isfinite, figure.layout.xaxis.range))


def test_learning_curves_have_a_panel_a_stage_and_a_choice_of_measures():
    figure = figures.draw_learning_curves(
        {"teacher.gemma": metrics(), "teacher.llama": metrics(), "student.x": metrics(3)}
    )
    assert [note.text for note in figure.layout.annotations] == ["<b>teacher</b>", "<b>student</b>"]
    shown = [trace for trace in figure.data if trace.visible]
    assert [len(trace.x) for trace in shown] == [12, 12, 12, 12, 3, 3]
    assert shown[0].y == pytest.approx([1 / (5 * (at + 1)) for at in range(12)])
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == [
        "training loss (nats)",
        "learning rate",
    ]
    assert [trace.name for trace in shown if trace.showlegend] == ["gemma", "llama", "x"]


def test_one_learning_curve_parts_its_phases():
    figure = figures.draw_learning_curve(metrics(), "final.gemma")
    assert {shape.x0 for shape in figure.layout.shapes} == {32.5}
    assert not figures.draw_learning_curve(metrics(0), "final.gemma").data


def test_names_are_text_wherever_they_stand():
    for figure in drawn(everything(hostile=True)):
        text = figure.to_json(engine="json")
        text.encode("utf-8")
        for markup in ("<img", "</script", "\\u0000", "\\ud800"):
            assert markup not in text
        assert not any(trace.hovertemplate for trace in figure.data)  # no template may read a name as its own
        assert all(trace.hoverinfo in ("text", "skip") for trace in figure.data)


def test_figures_of_nothing_say_so():
    empty = {"rows": [], "analyses": [], "cascades": [], "comparisons": [], "learning_metrics": {}}
    for figure in (
        figures.draw_accuracy([]),
        figures.draw_slices([]),
        figures.draw_calibration([]),
        figures.draw_swap_audit([], []),
        figures.draw_length_bias([]),
        figures.draw_abstention([]),
        figures.draw_cascade_frontier(empty["cascades"]),
        figures.draw_comparisons([]),
        figures.draw_learning_curves({}),
    ):
        assert not figure.data
        assert len(figure.layout.annotations) == 1


def test_every_point_tells_its_numbers_and_no_array_is_packed():
    for figure in drawn(everything()):
        assert all(trace.hovertext[at] for trace, at in points_of(figure))
        assert "bdata" not in json.dumps(figure.to_plotly_json(), default=str)  # older plotly.js could not read it
        assert figure.layout.meta["height"] > 100
        assert figure.layout.height is None


def test_a_judge_has_one_colour_in_all_figures():
    names = ["gemma", "llama", "gemma_large", "qwen", "mistral", "a", "b"]
    colors = theme.judge_colors(names)
    assert len(set(colors.values())) == len(names)
    assert theme.judge_colors(reversed(names)) == colors
    assert theme.judge_colors(["llama"]) == {"llama": colors["llama"]}
    assert len(theme.judge_colors(f"judge{at}" for at in range(30))) == 30
    for figure in (
        figures.draw_abstention([analysis("teacher", "llama")]),
        figures.draw_length_bias([analysis("final", "llama")]),
    ):
        assert figure.data[-1].line.color in (colors["llama"], theme.transparent(colors["llama"], 0.25))


def test_numbers_are_written_alike():
    assert theme.points(-0.0123) == "\N{MINUS SIGN}1.2"
    assert theme.points(0.0123) == "+1.2"
    assert theme.points(-0.0001) == theme.points(0.0004) == "0.0"
    assert theme.points(0.1) == "+10.0"
    assert theme.interval(0.807, 0.84) == "80.7 to 84.0%"
    assert theme.p_text(0.0004) == "p < 0.001"
    assert theme.whiskers([0.5], [0.6], [0.4], "#000000")["array"] == [0.0]  # never negative


def test_names_in_words():
    assert language_name("de") == "German"
    assert language_name("unknown") == "unknown"
    assert language_name("<b>") == "<b>"
    assert label("<b>") == "&lt;b&gt;"
    assert len(plain("x" * 1_000_000)) == 40
    assert "\ud800" not in plain(HOSTILE)
    assert best_of_each([("a.x", "x", 0.7, False), ("b.x", "x", 0.9, True), ("c.y", "y", 0.5, True)]) == {"a.x", "c.y"}


def test_an_interval_of_nobody_is_drawn():
    judge = analysis("teacher", "gemma")
    judge["length"]["accuracy_longer_won"] = share(0.0, 0)
    assert figures.draw_length_bias([judge]).data[-1].x == (0.0, 0.7)


def test_plotly_is_imported_by_those_who_draw_alone():
    modules = "wsdm_arena.pipelines.reporting.nodes, wsdm_arena.stages.nodes, wsdm_arena.io.figure"
    code = f"import sys, {modules}; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
