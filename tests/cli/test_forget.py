"""`kedro forget` in the project."""

import json

import pytest

from wsdm_arena.cli.forget import forget
from wsdm_arena.cli.status import status
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.ledger import Ledger

NODE = "build_test_pairs"


@pytest.fixture
def used(used_folder):
    used_folder.run(NODE)
    return used_folder


def state_of(folder, node: str) -> str:
    lines = map(json.loads, folder.call(status, "--json").stdout.splitlines())
    return next(line["state"] for line in lines if line["node"] == node)


@pytest.mark.parametrize("name", [NODE, "data_processing"])
def test_a_node_that_is_up_to_date_will_run_again(used, name):
    assert state_of(used, NODE) == "fresh"
    forgotten = used.call(forget, name)
    assert forgotten.exit_code == 0, forgotten.output
    assert f"1 node will run again: {NODE}\n" in forgotten.output
    assert ("had not run anyway" in forgotten.output) == (name != NODE)
    assert state_of(used, NODE) == "missing"
    assert [record.outcome for record in Ledger.of(used.data_root).records()] == ["done", "forgotten"]


def test_where_none_has_run_that_is_said_and_nothing_is_written(used):
    assert used.call(forget, NODE).exit_code == 0
    before = Ledger.of(used.data_root).path.read_bytes()
    for names in ([NODE], ["teacher.gemma"]):
        told = used.call(forget, *names)
        assert told.exit_code == 0
        assert f"Nothing to forget: {names[0]} names " in told.output
        assert f"none has run in {used.data_root}" in told.output
    assert Ledger.of(used.data_root).path.read_bytes() == before


def test_an_unknown_name_is_refused_with_those_that_are_known(used):
    told = used.call(forget, NODE, "teacher.gema")
    assert told.exit_code == 2
    assert "there is no node, namespace or tag 'teacher.gema'" in told.output
    assert "teacher.gemma" in told.output
    assert state_of(used, NODE) == "fresh"


def test_while_a_run_is_under_way_nothing_is_forgotten(used):
    with lock_directory(used.data_root, wait_s=0):
        told = used.call(forget, NODE)
    assert told.exit_code == 1
    assert "is in use by process" in told.output
    assert state_of(used, NODE) == "fresh"


def test_names_are_required(used_folder):
    assert used_folder.call(forget).exit_code == 2
