"""What the ledger tells of runs, and in what two of them differ."""

import pytest

from wsdm_arena.runs.history import (
    Difference,
    UnknownRunError,
    code_differences,
    data_differences,
    find_run,
    list_runs,
    nodes_of_one,
    outputs_of,
    parameter_differences,
    state_as_of,
)
from wsdm_arena.runs.ledger import NodeRecord, Stored


def record(run_id: str, node: str, outcome: str = "done", **fields) -> NodeRecord:
    common = {"fingerprint": "f", "time": f"time of {run_id}", "env": "sample", "command": "kedro run", "seconds": 2.0}
    return NodeRecord(run_id=run_id, node=node, outcome=outcome, **common | fields)


LEDGER = [
    record("2026-01-02", "build", parameters={"params:seed": 0}),
    record("2026-01-02", "train", "failed"),
    record("2026-01-03", "build", "fresh"),
    record("2026-01-03", "train", outputs={"checkpoint": Stored(digest="c", version="2026-01-03")}),
    record("2026-01-01", "build", parameters={"params:seed": 1}, command="kedro run --params seed=1"),
    record("2026-01-01", "train", taken_from="2026-01-03"),
]
"""The clock jumped back before the last run."""


def test_runs_are_told_in_the_order_of_the_ledger():
    runs = list_runs(LEDGER)
    assert [run.run_id for run in runs] == ["2026-01-02", "2026-01-03", "2026-01-01"]
    assert [(run.num_done, run.num_taken, run.num_fresh, run.num_failed) for run in runs] == [
        (1, 0, 0, 1),
        (1, 0, 1, 0),
        (1, 1, 0, 0),
    ]
    assert runs[2].seconds == 4.0
    assert list_runs([]) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("latest", "2026-01-01"),
        ("previous", "2026-01-03"),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-03", "2026-01-03"),
    ],
)
def test_a_run_is_found_by_its_id_or_place(name, found):
    assert find_run(list_runs(LEDGER), name).run_id == found


def test_a_run_is_found_by_the_beginning_of_its_id_if_there_is_one_only():
    runs = list_runs([record("2026-01-02T1", "n"), record("2026-01-02T12", "n"), record("2026-01-03T1", "n")])
    assert find_run(runs, "2026-01-03").run_id == "2026-01-03T1"
    assert find_run(runs, "2026-01-02T1").run_id == "2026-01-02T1", "the whole id counts before a beginning"
    with pytest.raises(UnknownRunError, match="beginning of 2 runs, such as 2026-01-02T1, 2026-01-02T12"):
        find_run(runs, "2026-01-02")


@pytest.mark.parametrize("name", ["2027", "", "last"])
def test_an_unknown_run_is_refused_by_name(name):
    with pytest.raises(UnknownRunError, match=f"no run '{name}'"):
        find_run(list_runs(LEDGER), name)


def test_without_a_previous_run_and_without_any_it_says_so():
    with pytest.raises(UnknownRunError, match="one only, 2026-01-02"):
        find_run(list_runs(LEDGER[:2]), "previous")
    with pytest.raises(UnknownRunError, match="nothing has been run"):
        find_run([], "latest")


def test_a_run_stands_for_what_was_up_to_date_when_it_ended():
    assert [(node, found.run_id) for node, found in state_as_of(LEDGER, "2026-01-02").items()] == [
        ("build", "2026-01-02")
    ]
    state = state_as_of(LEDGER, "2026-01-03")
    assert {node: found.run_id for node, found in state.items()} == {"build": "2026-01-02", "train": "2026-01-03"}
    assert outputs_of(state)["checkpoint"].version == "2026-01-03"
    assert state_as_of(LEDGER, "none") == {}


def test_what_is_forgotten_is_no_run_and_ends_none():
    ledger = [*LEDGER, record("2026-01-02", "build", "forgotten", command="kedro forget")]
    assert list_runs(ledger) == list_runs(LEDGER)
    for run_id in ("2026-01-02", "2026-01-01"):
        assert state_as_of(ledger, run_id) == state_as_of(LEDGER, run_id)


def state(**nodes) -> dict[str, NodeRecord]:
    return {name.replace("__", "."): record("r", name.replace("__", "."), **fields) for name, fields in nodes.items()}


def test_the_same_parameter_in_many_nodes_is_told_once():
    def parameters(rate, seed=0):
        judge = {"training": {"rate": rate, "epochs": 1}}
        return {"parameters": {"params:resolved.teacher.gemma": judge, "params:seed": seed}}

    old = state(teacher__gemma__train=parameters(1), teacher__llama__train=parameters(1), build=parameters(1))
    new = state(teacher__gemma__train=parameters(2), teacher__llama__train=parameters(2), build=parameters(3, seed=1))
    assert parameter_differences(old, new) == [
        Difference("judge.training.rate", 1, 3, ("build",)),
        Difference("judge.training.rate", 1, 2, ("teacher.gemma.train", "teacher.llama.train")),
        Difference("seed", 0, 1, ("build",)),
    ]
    assert parameter_differences(old, old) == []


def test_parameters_that_come_and_go_and_values_of_other_types_differ():
    old = state(n={"parameters": {"params:p": {"a": 1, "b": {}, "c": [1, 2]}}})
    new = state(n={"parameters": {"params:p": {"a": True, "c": [1, 2], "d": None, "e": {"f": "x"}}}})
    assert parameter_differences(old, new) == [
        Difference("p.a", 1, True, ("n",)),
        Difference("p.b", {}, None, ("n",)),
        Difference("p.e.f", None, "x", ("n",)),
    ]


def test_code_and_data_differ_by_format_and_digest():
    old = state(
        n={"code_format": "1", "inputs": {"t": Stored(digest="a", version="1"), "u": Stored(digest="b", version="1")}},
        m={"inputs": {"u": Stored(digest="b", version="1")}},
    )
    new = state(
        n={"code_format": "2", "inputs": {"t": Stored(digest="a", version="2"), "u": Stored(digest="c", version="2")}},
        m={"inputs": {"u": Stored(digest="c", version="2")}},
    )
    assert code_differences(old, new) == [Difference("n", "1", "2", ("n",))]
    (changed,) = data_differences(old, new)
    assert (changed.name, changed.old.digest, changed.new.digest, changed.nodes) == ("u", "b", "c", ("m", "n"))


def test_nodes_of_one_state_only_are_no_differences_but_named():
    assert nodes_of_one(state(a={}, b={}), state(b={}, c={})) == (["a"], ["c"])
    assert parameter_differences(state(a={"parameters": {"params:p": 1}}), state(c={})) == []
