"""`kedro status` in the project."""

import json

import pandas as pd
import pytest

from wsdm_arena.cli.status import status
from wsdm_arena.runs.digests import CACHE_NAME

NODE = "build_test_pairs"


def told_by_node(shown) -> dict[str, dict]:
    assert shown.exit_code == 0, shown.output
    return {told["node"]: told for told in map(json.loads, shown.stdout.splitlines())}


@pytest.fixture
def used(used_folder):
    used_folder.run(NODE)
    return used_folder


def test_where_nothing_has_run_everything_is_missing_and_nothing_is_written(used_folder):
    before = set(used_folder.data_root.rglob("*"))
    told = told_by_node(used_folder.call(status, "--json"))
    assert {line["state"] for line in told.values()} == {"missing"}
    assert told[NODE]["reasons"] == ["it has not been run here, or was forgotten"]
    assert told[NODE]["made"] is told[NODE]["seconds"] is None
    assert set(used_folder.data_root.rglob("*")) - {used_folder.data_root / CACHE_NAME} == before


def test_a_node_that_ran_on_what_is_there_is_fresh(used):
    told = told_by_node(used.call(status, "--json"))
    fresh = {node for node, line in told.items() if line["state"] == "fresh"}
    assert fresh == {NODE}
    assert told[NODE]["reasons"] == []
    assert told[NODE]["seconds"] == 61.0
    assert all(stored["size"] > 0 for stored in told[NODE]["outputs"].values())


def test_a_changed_input_is_named(used):
    path = used.data_root / "01_raw/test.parquet"
    pd.read_parquet(path).assign(prompt="another").to_parquet(path)
    told = told_by_node(used.call(status, "--json"))[NODE]
    assert (told["state"], told["reasons"]) == ("stale", ["test_table has changed"])


def test_params_show_what_a_run_with_them_would_find(used, tmp_path):
    other = tmp_path / "other.parquet"
    pd.read_parquet(used.data_root / "01_raw/test.parquet").assign(prompt="another").to_parquet(other)
    told = told_by_node(used.call(status, "--json", params=f"raw.test={other}"))[NODE]
    assert (told["state"], told["reasons"]) == ("stale", ["test_table has changed"])
    assert told_by_node(used.call(status, "--json"))[NODE]["state"] == "fresh"


def test_people_are_shown_stages_and_the_first_reasons(used):
    (used.data_root / "01_raw/test.parquet").unlink()
    shown = used.call(status)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == f"{used.data_root} (env sample)"
    (row,) = (line for line in lines if line.startswith("│ data_processing"))
    assert "1 min 01 s" in row
    assert f"  {NODE}: test_table is gone" in lines
    everything = used.call(status, "--all").output
    assert "it has not been run here, or was forgotten" in everything
    assert "more reasons" not in everything
    total = len(told_by_node(used.call(status, "--json")))
    assert lines[-1] == f"0 of {total} nodes are up to date. kedro run does the rest."


def test_a_file_that_cannot_be_read_is_one_message(used_folder, monkeypatch):
    from wsdm_arena.freshness.states import Freshness

    def unreadable(self, pipeline):
        raise PermissionError(13, "Permission denied", "weights")

    monkeypatch.setattr(Freshness, "survey", unreadable)
    shown = used_folder.call(status)
    assert shown.exit_code == 1
    assert "Permission denied: 'weights'" in shown.output
    assert "Traceback" not in shown.output
