"""Hashes of contents, and when they are looked up instead of computed."""

import json
import os
import time
from pathlib import Path

import pytest

from wsdm_arena.runs import digests
from wsdm_arena.runs.digests import CACHE_NAME, DigestCache

OLD = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Names of the files that were really read."""
    read = []
    whole = digests.sha256_of

    def count(path):
        read.append(path.name)
        return whole(path)

    monkeypatch.setattr(digests, "sha256_of", count)
    return read


def write(path: Path, content: str, *, settled: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if settled:
        os.utime(path, OLD)
    return path


def test_a_second_look_reads_nothing_also_in_another_process(tmp_path: Path, hashed):
    file = write(tmp_path / "weights", "1")
    cache = DigestCache.of(tmp_path)
    first = cache.digest([file])
    cache.save()
    assert DigestCache.of(tmp_path).digest([file]) == first
    assert hashed == ["weights"]


def test_a_file_written_this_moment_is_read_again(tmp_path: Path, hashed):
    file = write(tmp_path / "weights", "1", settled=False)
    cache = DigestCache()
    first = cache.sha256(file)
    stamp = file.stat().st_mtime_ns
    file.write_text("2")
    os.utime(file, ns=(stamp, stamp))  # same size, same time stamp: as within one tick of the file system
    assert cache.sha256(file) != first


def test_a_time_stamp_in_the_future_is_not_relied_on(tmp_path: Path, hashed):
    file = write(tmp_path / "weights", "1")
    os.utime(file, (time.time() + 9_000,) * 2)
    cache = DigestCache()
    cache.sha256(file)
    cache.sha256(file)
    assert hashed == ["weights", "weights"]


def test_other_content_or_another_size_is_another_digest(tmp_path: Path):
    cache = DigestCache()
    file = write(tmp_path / "table", "1")
    first = cache.digest([file])
    write(file, "22")
    assert cache.digest([file]) != first


def test_hard_links_are_read_once(tmp_path: Path, hashed):
    file = write(tmp_path / "run" / "weights", "1")
    link = tmp_path / "version" / "weights"
    link.parent.mkdir()
    os.link(file, link)
    cache = DigestCache()
    assert cache.digest([file.parent]) == cache.digest([link.parent])
    assert hashed == ["weights"]


def test_a_directory_counts_by_names_and_contents_of_what_is_visible(tmp_path: Path):
    cache = DigestCache()
    write(tmp_path / "a" / "inner" / "x", "1")
    write(tmp_path / "b" / "inner" / "x", "1")
    write(tmp_path / "b" / ".cache" / "y", "2")
    write(tmp_path / "b" / ".marker", "3")
    first = cache.digest([tmp_path / "a"])
    assert cache.digest([tmp_path / "b"]) == first
    assert first[1] == 1
    (tmp_path / "b" / "inner" / "x").rename(tmp_path / "b" / "inner" / "z")
    assert cache.digest([tmp_path / "b"]) != first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"1:2": 3}', '{"1:2": [1, 2, 3]}'])
def test_a_damaged_cache_costs_time_only(tmp_path: Path, content, hashed):
    file = write(tmp_path / "weights", "1")
    (tmp_path / CACHE_NAME).write_text(content)
    cache = DigestCache.of(tmp_path)
    assert cache.sha256(file) == DigestCache().sha256(file)
    cache.save()
    assert json.loads((tmp_path / CACHE_NAME).read_text())


def test_a_folder_that_cannot_be_written_to_is_no_reason_to_fail(tmp_path: Path):
    file = write(tmp_path / "weights", "1")
    cache = DigestCache(tmp_path / "weights" / "cache")  # below a file: cannot be written, whoever we are
    cache.sha256(file)
    cache.save()


def test_the_card_of_a_directory_counts_for_nothing(tmp_path: Path):
    write(tmp_path / "bundle" / "weights", "1")
    before = DigestCache().digest([tmp_path / "bundle"])
    write(tmp_path / "bundle" / "README.md", "# A judge")
    assert DigestCache().digest([tmp_path / "bundle"]) == before
