from dataclasses import replace

import pytest
from kedro.framework.project import pipelines

from wsdm_arena.freshness.states import NodeState, State
from wsdm_arena.preflight import PlannedRun
from wsdm_arena.preflight.gaps import check_gap, check_outdated_inputs


@pytest.fixture
def select(plan):
    """Select nodes while others are stale or missing: ``select(["a", "c"], b=State.STALE)``; the rest is fresh."""

    def make(nodes: list[str], others: dict[str, State], **options: object) -> PlannedRun:
        run = plan(nodes)
        states = {
            node.name: NodeState(node.name, others.get(node.name, State.FRESH), ("one", "two", "three"), None, None)
            for node in pipelines["__default__"].nodes
        }
        return replace(run, states=states, options={**run.options, **options})

    return make


@pytest.mark.parametrize("state", [State.STALE, State.MISSING, State.WAITING])
def test_a_selection_with_a_hole_that_is_not_up_to_date_is_refused(select, state):
    nodes = ["teacher.gemma.select", "teacher.gemma.evaluate"]
    hole, cure = check_gap(select(nodes, {"teacher.gemma.train": state}, env="sample"))
    assert hole == "teacher.gemma.train: one; two; and 1 more"
    assert cure.endswith("kedro run --to-nodes teacher.gemma.evaluate --env sample")
    assert check_gap(select(nodes, {})) == []
    assert check_gap(select([*nodes, "teacher.gemma.train"], {"teacher.gemma.train": state})) == []


def test_of_a_large_hole_the_first_nodes_are_named(select):
    between = [f"collected_labels.{judge}.{step}" for judge in ("gemma", "llama") for step in ("tokenize", "score")]
    between += [f"teacher.{judge}.train" for judge in ("gemma", "llama")]
    run = select(["build_battles", "collected_labels.combine"], dict.fromkeys(between, State.STALE))
    *named, more, _ = check_gap(run)
    assert len(named) == 5
    assert more == "and 1 more node"


def test_a_selection_on_inputs_that_are_out_of_date_is_refused(select):
    nodes = ["teacher.gemma.evaluate"]
    before, cure = check_outdated_inputs(select(nodes, {"teacher.gemma.train": State.STALE}))
    assert before.startswith("teacher.gemma.train: one")
    assert "run them first: kedro run --to-nodes teacher.gemma.evaluate" in cure
    brought_from_elsewhere = {"teacher.gemma.train": State.MISSING}
    assert check_outdated_inputs(select(nodes, brought_from_elsewhere)) == []
    named = {"teacher.gemma.predictions": "2026-01-01T00.00.00.000Z"}
    assert check_outdated_inputs(select(nodes, {"teacher.gemma.train": State.STALE}, load_versions=named)) == []
    assert check_outdated_inputs(select(nodes, {"teacher.llama.train": State.STALE})) == []


def test_of_what_is_no_part_of_the_project_nothing_is_said(plan):
    run = plan(pipeline="simulated_arena")
    assert check_gap(run) == check_outdated_inputs(run) == []
    unknown = plan(["teacher.gemma.select", "teacher.gemma.evaluate"])
    assert check_gap(unknown) == []  # how things stand is not known
