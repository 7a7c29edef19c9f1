"""Files are whole or absent, whatever happens to the process that writes them."""

import errno
import hashlib
import logging
import os
from pathlib import Path

import pytest

from wsdm_arena import progress
from wsdm_arena.runs import files as files_module
from wsdm_arena.runs.files import (
    describe_file,
    find_damage,
    last_json_line,
    link_or_copy,
    read_descriptions,
    replacing_file,
    require_inner_name,
    sha256_of,
    write_atomically,
)


def test_replacing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    write_atomically(path, b"old")

    def write_half() -> None:
        with replacing_file(path) as partial:
            partial.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    with replacing_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_what_a_killed_process_of_the_same_number_left_is_not_written_to(tmp_path: Path) -> None:
    path, other = tmp_path / "a.txt", tmp_path / "other"
    other.write_text("somebody's")
    os.link(other, tmp_path / f".a.txt.{os.getpid()}")
    write_atomically(path, b"ours")
    assert (path.read_text(), other.read_text()) == ("ours", "somebody's")


def test_a_link_is_made_where_it_can_be_and_never_written_through(tmp_path: Path, monkeypatch) -> None:
    source = tmp_path / "source"
    source.write_text("contents")
    (tmp_path / "symbolic").symlink_to(source)
    assert link_or_copy(tmp_path / "symbolic", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(source)
    assert not (tmp_path / "linked").is_symlink()
    source_of_others = tmp_path / "others"
    source_of_others.write_text("others")
    with pytest.raises(FileExistsError):
        link_or_copy(source_of_others, tmp_path / "linked")
    assert source.read_text() == "contents"

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    assert not link_or_copy(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "contents"
    assert not (tmp_path / "copied").samefile(source)


@pytest.mark.parametrize("name", ["a", "a.b", "fused/weights", "..a", "a..", "日本語"])
def test_names_within_a_directory_are_accepted(name: str) -> None:
    require_inner_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "a/../../evil", "a/..", "/etc/passwd", "a//b", "./a", "a/", "a\\b", "a\0b"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="does not stay within its directory"):
        require_inner_name(name)
    with pytest.raises(ValueError, match="does not stay within its directory"):
        read_descriptions({name: {"size": 1, "sha256": "0"}})


@pytest.mark.parametrize("files", [None, [], "x", {"a": None}, {"a": {"size": 1}}, {"a": {"size": "1", "sha256": ""}}])
def test_what_describes_no_files_is_refused(files: object) -> None:
    with pytest.raises(ValueError, match=r"names no files|does not say size and sha256"):
        read_descriptions(files)


def test_damage_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"123")
    files = {"weights": describe_file(file)}
    assert find_damage(tmp_path, files) is None
    file.write_bytes(b"124")
    assert find_damage(tmp_path, files) == f"{file} is damaged: its SHA-256 is not that of what was written"
    assert find_damage(tmp_path, files, max_hashed_bytes=2) is None
    file.write_bytes(b"12")
    assert find_damage(tmp_path, files, max_hashed_bytes=0) == f"{file} has 2 bytes, not the 3 that were written"
    file.unlink()
    assert find_damage(tmp_path, files) == f"{file} is missing"


def test_the_last_whole_line_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    assert last_json_line(path) == {}
    path.write_text('{"update": 1}\n{"update": 2}\n[3]\n{"upda')
    assert last_json_line(path) == {"update": 2}
    path.write_text('{"upda')
    assert last_json_line(path) == {}


def test_a_large_file_has_the_same_checksum_and_its_progress_is_shown(tmp_path, monkeypatch, caplog):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 20_000)
    expected = sha256_of(path)
    monkeypatch.setattr(files_module, "_LARGE_MB", 1)
    monkeypatch.setattr(files_module, "_BLOCK_BYTES", 1_000_003)
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    with caplog.at_level(logging.INFO):
        assert sha256_of(path) == expected == hashlib.sha256(path.read_bytes()).hexdigest()
    assert caplog.messages[-1].startswith(f"checksum of {tmp_path.name}/weights, MB: 5 of 5 (100 %), took")
