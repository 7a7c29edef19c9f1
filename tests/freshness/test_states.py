"""How things stand, before anything is run."""

from wsdm_arena.freshness.selection import find_gap, find_outdated_inputs, last_nodes, pending
from wsdm_arena.freshness.states import State


def states(project) -> dict[str, str]:
    return {name: state.state.value for name, state in project.survey().items()}


def test_before_the_first_run_everything_is_missing(project):
    assert set(states(project).values()) == {"missing"}
    assert project.survey()["clean"].reasons == ("it has not been run here, or was forgotten",)


def test_after_a_run_everything_is_fresh(project):
    project.run()
    assert set(states(project).values()) == {"fresh"}


def test_what_lies_behind_a_stale_node_waits(project):
    project.run()
    project.parameters["label"] = type(project.parameters["label"])(factor=3)
    found = project.survey()
    assert states(project) == {
        "clean": "fresh",
        "label": "stale",
        "train": "waiting",
        "score": "waiting",
        "report": "waiting",
    }
    assert found["label"].reasons == ("label.factor: 1 -> 3",)
    assert found["train"].reasons == ("label must run first",)
    assert pending(found.values()) == {"label", "train", "score", "report"}


def test_a_survey_changes_nothing(project):
    project.run()
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
    project.survey()
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before


def test_a_run_sees_what_a_survey_before_it_has_not_frozen(project):
    project.run()
    project.runs += 1
    catalog = project.catalog(project.runs)
    from wsdm_arena.freshness.states import Freshness
    from wsdm_arena.runs.digests import DigestCache

    freshness = Freshness(catalog, project.ledger.done(), DigestCache.of(project.root))
    freshness.survey(project.pipeline)
    labels = project.newest("labels.parquet")
    later = labels.parents[1] / "2026-02-01T00.00.00.000Z" / labels.name
    later.parent.mkdir()
    later.write_bytes(labels.read_bytes())
    assert catalog["labels"].resolve_load_version() == "2026-02-01T00.00.00.000Z"


def test_a_gone_input_is_named(project):
    project.run()
    project.raw.unlink()
    found = project.survey()
    assert found["clean"].reasons == ("raw is gone",)
    assert found["score"].reasons == ("raw is gone",)


def test_a_gap_is_what_lies_between_and_is_not_fresh(project):
    project.run()
    ends = project.pipeline.filter(node_names=["label", "score"])
    assert find_gap(project.pipeline, ends, project.survey()) == []
    project.parameters["label"] = type(project.parameters["label"])(factor=3)
    (gap,) = find_gap(project.pipeline, ends, project.survey())
    assert (gap.node, gap.state) == ("train", State.WAITING)


def test_inputs_are_outdated_if_the_ledger_knows_better(project):
    behind = project.pipeline.filter(node_names=["train", "score"])
    assert find_outdated_inputs(project.pipeline, behind, project.survey()) == []  # nobody knows
    project.run()
    assert find_outdated_inputs(project.pipeline, behind, project.survey()) == []
    project.parameters["label"] = type(project.parameters["label"])(factor=3)
    assert [state.node for state in find_outdated_inputs(project.pipeline, behind, project.survey())] == ["label"]


def test_the_last_nodes_are_those_that_nothing_follows(project):
    assert last_nodes(project.pipeline) == ["report"]
    assert last_nodes(project.pipeline.filter(node_names=["clean", "train"])) == ["clean", "train"]
