"""Teachers label the collected pairs, students the generated ones: the same template twice."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import RosterConfig
from wsdm_arena.pipelines.pseudo_labeling.nodes import combine_labels, score_pairs_of_table, tokenize_for_labels


def create_pipeline(roster: RosterConfig) -> Pipeline:
    """Both tables; without students there is nothing to label pairs for."""
    if not roster.students:
        return Pipeline([])
    return create_labeling("collected_pairs", "collected_labels", "teacher", roster.teachers) + create_labeling(
        "generated_pairs", "generated_labels", "student", roster.students
    )


def create_labeling(table: str, labels: str, stage: str, judges: tuple[str, ...]) -> Pipeline:
    """``tokenize -> score`` for every judge, ``combine`` for all.

    Args:
        table: Catalog name of the pairs.
        labels: Catalog name of their labels; the namespace of everything on the way.
        stage: In which the judges were trained.
        judges: Their names.
    """
    scored = sum((_create_scoring(table, labels, stage, judge) for judge in judges), start=Pipeline([]))
    combined = Pipeline(
        [
            Node(
                combine_labels,
                {
                    "pairs": table,
                    "battles": "battles",
                    "test_pairs": "test_pairs",
                    "config": f"params:pseudo_labels.{table}",
                    "preferences": "params:preferences",
                    **{judge: f"{labels}.{judge}.predictions" for judge in judges},
                },
                {"labels": labels, "report": f"{labels}.report"},
                name="combine",
                namespace=labels,
            )
        ]
    )
    return Pipeline(scored + combined, tags="pseudo_labeling")


def _create_scoring(table: str, labels: str, stage: str, judge: str) -> Pipeline:
    checkpoint, reading = f"{stage}.{judge}.checkpoint", f"params:readings.{labels}.{judge}"
    return Pipeline(
        [
            Node(
                tokenize_for_labels,
                {
                    table: table,
                    "checkpoint": checkpoint,
                    "judge": "params:judge",
                    "reading": "params:reading",
                    "template": "params:template",
                    "truncation": "params:truncation",
                    "token_store": "token_store",
                },
                "tokens",
                name="tokenize",
            ),
            Node(
                score_pairs_of_table,
                {
                    "checkpoint": checkpoint,
                    "tokens": "tokens",
                    "judge": "params:judge",
                    "reading": "params:reading",
                    "launcher": "params:launcher",
                    "scoring_runs": "scoring_runs",
                },
                "predictions",
                name="score",
            ),
        ],
        namespace=f"{labels}.{judge}",
        inputs={table, checkpoint, "token_store", "scoring_runs"},
        parameters={
            "params:judge": f"params:resolved.{stage}.{judge}",
            "params:reading": reading,
            **{name: name for name in ("params:template", "params:truncation", "params:launcher")},
        },
        tags=judge,
    )
