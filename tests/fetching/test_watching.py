"""How far a download is, told without the clients' bars."""

import logging
import sys
import threading

import pytest

from wsdm_arena import progress
from wsdm_arena.fetching import watching
from wsdm_arena.fetching.watching import bytes_in, watch_download


def test_a_growing_folder_is_told_of_in_the_log_and_bars_are_not(tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.setattr(watching, "POLL_EVERY_S", 0.01)
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    part = tmp_path / "deep" / "train.parquet.incomplete"
    with caplog.at_level(logging.INFO), watch_download("train", tmp_path, 4_000_000):
        part.parent.mkdir()
        part.write_bytes(bytes(3_000_000))
        sys.stderr.write("75%|#######   |\r")
    assert caplog.messages[-1].startswith("train downloaded, MB: 3 of 4 (75 %), took")
    assert capsys.readouterr().err == ""
    assert not [thread for thread in threading.enumerate() if "_watch" in thread.name]


def test_what_was_there_before_counts_and_an_error_goes_through(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    (tmp_path / "first").write_bytes(bytes(2_000_000))
    before = sys.stderr
    with pytest.raises(OSError, match="connection"), caplog.at_level(logging.INFO), watch_download("m", tmp_path, None):
        raise OSError("connection broke")
    assert sys.stderr is before
    assert caplog.messages[-1].startswith("m downloaded, MB: 2, took")


def test_a_folder_that_is_not_there_yet_is_empty(tmp_path):
    assert bytes_in(tmp_path / "none") == 0
