import errno
import logging
import os
from pathlib import Path

import pytest
from kedro.io import DatasetError, Version

from wsdm_arena.io.directory import CheckpointDataset


@pytest.fixture
def run(tmp_path) -> Path:
    model = tmp_path / "runs" / "abc" / "model"
    (model / "tokenizer").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "tokenizer" / "tokenizer.json").write_text("{}")
    (model / "manifest.json").write_text("{}")
    return model


def _dataset(tmp_path, load=None, save=None) -> CheckpointDataset:
    return CheckpointDataset(filepath=str(tmp_path / "checkpoint"), version=Version(load, save))


def test_a_version_is_hard_links_to_the_run(tmp_path, run):
    _dataset(tmp_path, save="1").save(run)
    saved = _dataset(tmp_path).load()
    assert saved == tmp_path / "checkpoint" / "1" / "checkpoint"
    for name in ("model.safetensors", "manifest.json", "tokenizer/tokenizer.json"):
        assert (saved / name).samefile(run / name)
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


def test_versions_survive_the_run_and_one_another(tmp_path, run):
    _dataset(tmp_path, save="1").save(run)
    _dataset(tmp_path, save="2").save(run)
    (run / "model.safetensors").unlink()
    assert _dataset(tmp_path).load().parent.name == "2"
    assert (_dataset(tmp_path, load="1").load() / "model.safetensors").read_bytes() == b"weights"


def test_files_are_copied_across_file_systems_and_the_log_says_so_once(tmp_path, run, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    with caplog.at_level(logging.INFO):
        _dataset(tmp_path, save="1").save(run)
    saved = _dataset(tmp_path).load()
    assert (saved / "model.safetensors").read_bytes() == b"weights"
    assert not (saved / "model.safetensors").samefile(run / "model.safetensors")
    assert [record.getMessage()[:32] for record in caplog.records if "copied" in record.message] == [
        "copied instead of linked: 3 file"
    ]


def test_a_directory_without_manifest_is_refused_by_name(tmp_path, run):
    (run / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=f"{run} has no manifest.json"):
        _dataset(tmp_path, save="1").save(run)
    assert not (tmp_path / "checkpoint").exists()
    with pytest.raises(DatasetError, match="there is no such checkpoint directory"):
        _dataset(tmp_path, save="1").save(tmp_path / "nowhere")
    half = tmp_path / "checkpoint" / "3" / "checkpoint"
    half.mkdir(parents=True)
    assert not _dataset(tmp_path).exists()
    with pytest.raises(DatasetError, match=f"{half} has no manifest.json"):
        _dataset(tmp_path).load()


def test_a_killed_save_leaves_no_version(tmp_path, run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _dataset(tmp_path, save="1").save(run)
    assert not _dataset(tmp_path).exists()
    assert list((tmp_path / "checkpoint" / "1").iterdir()) == []


def test_without_versions_the_newer_checkpoint_takes_the_place(tmp_path, run):
    dataset = CheckpointDataset(filepath=str(tmp_path / "checkpoint"))
    dataset.save(run)
    (run / "extra.json").write_text("{}")
    dataset.save(run)
    assert (dataset.load() / "extra.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "runs"]


def test_nothing_was_saved_yet(tmp_path):
    assert not _dataset(tmp_path).exists()
