from dataclasses import replace

import pytest

from wsdm_arena.preflight.clock import check_clock

NOW = "2026-01-02T00.00.00.000Z"  # of planned runs
LATER = "2027-01-01T00.00.00.000Z"
EARLIER = "2025-01-01T00.00.00.000Z"
NODES = ["teacher.gemma.train", "teacher.gemma.evaluate"]


def save(data_root, version: str) -> None:
    folder = data_root / "07_model_output" / "teacher" / "gemma" / "predictions.parquet" / version
    folder.mkdir(parents=True)
    (folder / "predictions.parquet").touch()


@pytest.mark.parametrize("version", [LATER, "best"])
def test_a_version_that_would_be_loaded_in_place_of_the_result_is_refused(plan, tmp_path, version):
    save(tmp_path, EARLIER)
    assert check_clock(plan(NODES)) == []
    save(tmp_path, version)
    problem, cure = check_clock(plan(NODES))
    assert problem.startswith(f"teacher.gemma.predictions: its version {version} ({tmp_path}/07_model_output/")
    assert f"later than this run, {NOW}, and would be loaded in place of what this run saves" in problem
    assert "set the clock right" in cure
    assert "remove or rename" in cure


def test_versions_that_this_run_does_not_save_may_be_later(plan, tmp_path):
    save(tmp_path, LATER)
    assert check_clock(plan(["teacher.gemma.evaluate"])) == []
    run = plan(NODES)
    assert check_clock(replace(run, to_run=frozenset({"teacher.gemma.evaluate"}))) == []
    assert (
        check_clock(replace(run, options=run.options | {"load_versions": {"teacher.gemma.predictions": LATER}})) == []
    )


def test_a_folder_without_the_file_is_no_version(plan, tmp_path):
    (tmp_path / "07_model_output" / "teacher" / "gemma" / "predictions.parquet" / LATER).mkdir(parents=True)
    assert check_clock(plan(NODES)) == []
