import logging

import pytest
import torch

from wsdm_arena.training import progress
from wsdm_arena.training.progress import StageProgress, memory_bytes


def test_away_from_a_terminal_a_line_is_logged_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([100.0, 110.0, 131.0, 131.0, 131.0, 132.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), StageProgress("teacher.llama", "updates", 30, completed=10) as stage:
        stage.advance(details={"loss": "0.69"})  # 10 s after the begin: silent
        stage.advance(details={"loss": "0.68", "tokens/s": "7,000"})  # 31 s
        stage.advance(details={"loss": "0.67"})  # a second later: silent
    assert [record.message for record in caplog.records] == [
        "teacher.llama updates 12/30, loss 0.68 tokens/s 7,000, 4:39 left"
    ]


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO), StageProgress("x", "updates", 3, is_shown=False) as stage:
        stage.advance()
    assert not caplog.records
    assert stage.completed == 1


def test_a_terminal_gets_a_bar_with_name_and_details(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    with StageProgress("teacher.gemma", "updates", 4) as stage:
        stage.advance(2, details={"loss": "0.5000", "memory": "1.0 GiB"})
    shown = capsys.readouterr().err
    assert "teacher.gemma updates" in shown
    assert "2/4" in shown
    assert "loss 0.5000 memory 1.0 GiB" in shown


def test_memory_of_this_process_is_counted() -> None:
    assert memory_bytes(torch.device("cpu")) > 10 << 20
