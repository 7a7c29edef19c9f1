"""Baselines, judges and cascades side by side: the scoreboard, figures, and a report on one page."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import LABELS, RosterConfig
from wsdm_arena.pipelines.reporting import nodes
from wsdm_arena.pipelines.reporting.cards import (
    GENERATED,
    card_writer,
    label_card_writer,
    write_generated_pairs_card,
)
from wsdm_arena.runs.entry_names import is_parameter, without_parameters

SEEN_STAGES = ("final",)
"""Stages that were trained on the held-out fold, too: a comparison there would flatter them."""
SUBMISSIONS = ("submission.student", "submission.final")


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """``baselines``, every judge's scores and the cascades' -> ``scoreboard``; paired tests; ``report``."""
    trainings = [str(training) for training in roster.trainings()]
    honest = [str(training) for training in roster.trainings() if training.stage not in SEEN_STAGES]
    submissions = SUBMISSIONS if roster.students else ()
    scoreboard = [
        Node(
            nodes.compare_on_held_out_fold,
            {
                "battles": "battles",
                "preferences": "params:preferences",
                "reporting": "params:reporting",
                **_named(honest, "predictions"),
            },
            "comparisons",
            name="compare_judges",
        ),
        Node(
            nodes.build_scoreboard,
            {"comparisons": "comparisons", **_named(["baseline", *trainings, *submissions], "scores")},
            {"scoreboard": "scoreboard", "scoreboard_table": "scoreboard_table"},
            name="build_scoreboard",
        ),
    ]
    report = _create_report(trainings, submissions, has_pairs=bool(roster.students))
    return Pipeline(_create_baselines() + Pipeline(scoreboard) + report, tags="reporting")


def _create_baselines() -> Pipeline:
    shared = ("battles", "test_pairs", "simulated_truth", "run_context")
    parameters = ("preferences", "reporting", "seed")
    inputs = {name: name for name in shared} | {name: f"params:{name}" for name in parameters}
    return Pipeline(
        [Node(nodes.score_baselines_on_battles, inputs, "scores", name="score")],
        namespace="baseline",
        inputs=set(shared),
        parameters={f"params:{name}" for name in parameters},
    )


def _create_report(trainings: Iterable[str], submissions: Iterable[str], *, has_pairs: bool) -> Pipeline:
    """What there is to see, in namespace ``report``."""
    tables = ["battles", "test_pairs"]
    if has_pairs:
        tables += ["collected_pairs", "collected_labels", "generated_pairs", "generated_labels"]
    analyses, metrics = _named(trainings, "analysis"), _named(trainings, "training_metrics")
    cascades = _named(submissions, "analysis")
    collected = [
        Node(nodes.collect_judges, analyses, "judges", name="collect_judges"),
        Node(nodes.collect_training_metrics, metrics, "training_metrics", name="collect_training_metrics"),
        Node(nodes.summarize_data, {table: table for table in tables}, "tables", name="summarize_data"),
    ]
    if cascades:
        collected.append(Node(nodes.collect_cascades, cascades, "cascades", name="collect_cascades"))
    drawn = [
        Node(nodes.draw_scoreboard, "scoreboard", _plots("accuracy", "slices"), name="draw_scoreboard"),
        Node(
            nodes.draw_judges,
            ["judges", "scoreboard", "params:reporting"],
            _plots("calibration", "swap", "length", "abstention"),
            name="draw_judges",
        ),
        Node(nodes.draw_paired_tests, "comparisons", "comparisons_plot", name="draw_comparisons"),
        Node(nodes.draw_training, "training_metrics", "learning_curves_plot", name="draw_learning_curves"),
    ]
    if cascades:
        drawn.append(Node(nodes.draw_cascades, "cascades", "cascades_plot", name="draw_cascades"))
    shown = ["scoreboard", "comparisons", "tables", "judges", "training_metrics", "run_context"]
    shown += ["cascades"] if cascades else []
    inputs = {name: name for name in shown} | {"reporting": "params:reporting"}
    page = Node(nodes.write_report, inputs, "page", name="write")
    report = Pipeline([*collected, *drawn, page, *map(_create_card, tables)])
    return Pipeline(
        report,
        namespace="report",
        inputs=set(without_parameters(report.inputs())),
        parameters={name for name in report.inputs() if is_parameter(name)},
    )


def _create_card(table: str) -> Node:
    """What people should know of a table before they use it."""
    report = f"{table}.report" if table.endswith("_labels") else f"{table}_report"
    inputs = {"frame": table, "run_context": "run_context", "report": report, "sources": "params:sources"}
    write = card_writer(table)
    if table == GENERATED:
        write = write_generated_pairs_card
        inputs |= {"generation": "params:generation", "packaged_models": "params:packaged_models"}
    elif table in LABELS.values():
        write = label_card_writer(table)
        inputs |= {"labellers": "params:labellers", "packaged_models": "params:packaged_models"}
    return Node(write, inputs, f"{table}_card", name=f"describe_{table}")


def _plots(*figures: str) -> dict[str, str]:
    return {f"{figure}_plot": f"{figure}_plot" for figure in figures}


def _named(owners: Iterable[str], entry: str) -> dict[str, str]:
    """Arguments of a node that takes the same entry of many: ``teacher__gemma: teacher.gemma.scores``."""
    return {owner.replace(".", "__"): f"{owner}.{entry}" for owner in owners}
