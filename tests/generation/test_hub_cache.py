"""Removal from a hub cache that looks as the hub library makes it."""

import pytest

from wsdm_arena.generation.hub_cache import remove_from_hub_cache

MAIN, OLD, FOREIGN = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two commits of one model that share a blob, and another model."""
    monkeypatch.chdir(tmp_path)
    for name, commits in (("models--org--m", (MAIN, OLD)), ("models--org--other", (FOREIGN,))):
        repository = tmp_path / name
        (repository / "blobs").mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commits[0])
        (repository / "blobs" / "shared").write_bytes(bytes(10))
        for commit in commits:
            (repository / "blobs" / commit[:4]).write_bytes(bytes(1000))
            snapshot = repository / "snapshots" / commit
            snapshot.mkdir(parents=True)
            (snapshot / "model.safetensors").symlink_to(repository / "blobs" / commit[:4])
            (snapshot / "config.json").symlink_to(repository / "blobs" / "shared")
    return tmp_path


def snapshots(cache):
    return {f"{path.parent.parent.name}@{path.name[0]}" for path in cache.glob("models--*/snapshots/*")}


def test_the_main_branch_is_removed_where_no_revision_is_named(cache):
    assert remove_from_hub_cache("org/m", None, cache) == 1000
    assert snapshots(cache) == {"models--org--m@b", "models--org--other@c"}
    assert (cache / "models--org--m" / "blobs" / "shared").exists(), "another commit needs it"


def test_a_revision_may_be_a_commit_or_a_branch(cache):
    assert remove_from_hub_cache("org/m", OLD, cache) == 1000
    assert remove_from_hub_cache("org/m", "main", cache) == 1010
    assert snapshots(cache) == {"models--org--other@c"}


def test_what_is_not_there_or_lies_in_a_directory_is_left_alone(cache):
    (cache / "org" / "other").mkdir(parents=True)
    before = snapshots(cache)
    assert remove_from_hub_cache("org/missing", None, cache) == 0
    assert remove_from_hub_cache("org/m", "v2", cache) == 0
    assert remove_from_hub_cache("org/other", None, cache) == 0, (
        "a directory here has this name: it was what was loaded"
    )
    assert snapshots(cache) == before


def test_a_machine_without_a_cache_has_nothing_to_remove(tmp_path):
    assert remove_from_hub_cache("org/m", None, tmp_path / "none") == 0
