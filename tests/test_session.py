"""What a session leaves behind, and what it refuses before anything is read."""

import os
from pathlib import Path

import click
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from wsdm_arena.session import UpToDateSession

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    bootstrap_project(PROJECT)


def session(env: str | None = None, **params) -> UpToDateSession:
    return UpToDateSession.create(PROJECT, env=env, runtime_params=params, save_on_close=False)


def test_the_env_of_one_session_is_not_that_of_the_next(tmp_path):
    with session("a100", data_root=str(tmp_path)) as first, pytest.raises(click.ClickException):
        first.run()  # nothing is there
    assert "KEDRO_ENV" not in os.environ
    with session() as second:
        assert second.load_context().config_loader["globals"]["data_root"] == "data/sample"


def test_a_pinned_version_of_what_is_made_is_refused(tmp_path):
    pinned = {"teacher.gemma.checkpoint": "2026-01-01T00.00.00.000Z"}
    with session(data_root=str(tmp_path)) as run, pytest.raises(click.ClickException) as refused:
        run.run(load_versions=pinned)
    assert "--load-versions teacher.gemma.checkpoint: the selected nodes make it anew" in str(refused.value)


def test_a_second_run_at_the_same_time_is_refused_and_the_lock_is_let_go(tmp_path):
    from wsdm_arena.processes.lock import lock_directory

    with (
        lock_directory(tmp_path, wait_s=0),
        session(data_root=str(tmp_path)) as run,
        pytest.raises(click.ClickException, match=f"in use by process {os.getpid()}"),
    ):
        run.run()
    with session(data_root=str(tmp_path)) as run, pytest.raises(click.ClickException, match="inputs are missing"):
        run.run()
    with lock_directory(tmp_path, wait_s=0):
        pass


def test_an_interrupted_run_says_that_the_same_command_goes_on(tmp_path, monkeypatch, caplog):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KedroSession, "run", interrupt)
    with session(data_root=str(tmp_path)) as run, pytest.raises(KeyboardInterrupt):
        run.run()
    assert "The same command goes on" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pipeline_names": ["finetunin"]}, "Did you mean finetuning"),
        ({"namespaces": ["teacher.gema"]}, "did you mean teacher.gemma"),
        ({"node_names": ["teacher.gema.train"]}, "did you mean teacher.gemma.train"),
        ({"tags": ["reportin"]}, "did you mean reporting"),
        ({"to_outputs": ["scorebord"]}, "did you mean scoreboard"),
    ],
)
def test_a_misspelt_selection_is_named(tmp_path, options, said):
    with session(data_root=str(tmp_path)) as run, pytest.raises(click.UsageError) as refused:
        run.run(**options)
    assert said in str(refused.value)


def test_a_pipeline_without_nodes_says_why(tmp_path):
    params = {"data_root": str(tmp_path), "roster": {"students": [], "final_held_out": []}}
    with session(**params) as run, pytest.raises(click.UsageError, match=r"roster\.students"):
        run.run(pipeline_names=["pretraining"])


@pytest.mark.parametrize("name", ["a{b}", "a*", "a[0]", "a?"])
def test_a_data_folder_that_would_be_read_as_a_pattern_is_refused(tmp_path, name):
    with (
        session(data_root=str(tmp_path / name)) as run,
        pytest.raises(click.ClickException, match="stand for patterns"),
    ):
        run.run()


def test_a_data_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        session(data_root=str(tmp_path / "file" / "below")) as run,
        pytest.raises(click.ClickException, match="file is a file; name a folder"),
    ):
        run.run()
