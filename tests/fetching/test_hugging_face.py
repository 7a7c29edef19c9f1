import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetching.fetch_cases import (
    TO_ACCEPT,
    fetch_here,
    fetch_there,
    hugging_face_environment,
    make_input,
    noise,
    parquet,
    start_fetch,
    use_hugging_face,
)
from tests.fetching.hub_server import COMMIT, Hub, serve
from wsdm_arena.config.fetching import FilePin
from wsdm_arena.fetching import Outcome
from wsdm_arena.fetching.inputs import MODEL_FILES
from wsdm_arena.fetching.presence import State

SHARDS = {"data/a.parquet": FilePin(), "data/b.parquet": FilePin()}
LARGE = 24_000_000
"""Bytes; the client writes 10 MiB at a time."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as running:
        running.repositories["datasets/org/chats"] = {
            "data/a.parquet": parquet(40_000, 1),
            "data/b.parquet": parquet(50_000, 2),
            "README.md": b"not asked for",
        }
        yield running


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> None:
    use_hugging_face(monkeypatch, hub, tmp_path / "home")


def shards(data_root: Path, **changes):
    return make_input(data_root, "conversations", files=SHARDS, **changes)


def test_a_dataset_is_laid_out_without_the_folders_of_the_hub(hub, tmp_path):
    (outcome,) = fetch_here(tmp_path, shards(tmp_path))

    folder = tmp_path / "01_raw" / "conversations"
    contents = hub.repositories["datasets/org/chats"]
    assert outcome == Outcome("conversations", State.FETCHED, bytes=90_000)
    assert sorted(path.name for path in folder.iterdir()) == [".fetched.json", "a.parquet", "b.parquet"]
    assert (folder / "b.parquet").read_bytes() == contents["data/b.parquet"]
    manifest = json.loads((folder / ".fetched.json").read_text())["inputs"]["conversations"]
    assert manifest["revision"] == COMMIT
    sha256 = hashlib.sha256(contents["data/a.parquet"]).hexdigest()
    assert manifest["files"]["a.parquet"] == {"size": 40_000, "sha256": sha256}


def test_a_second_fetch_asks_for_nothing_and_a_changed_file_is_refused(hub, tmp_path):
    fetch_here(tmp_path, shards(tmp_path))
    hub.requests.clear()
    assert fetch_here(tmp_path, shards(tmp_path))[0].state == "fetched"
    shard = tmp_path / "01_raw" / "conversations" / "a.parquet"
    shard.write_bytes(parquet(40_000, seed=99))

    (refused,) = fetch_here(tmp_path, shards(tmp_path))

    assert f"{shard} is not what was fetched" in refused.message
    assert hub.requests == []


def test_a_file_that_the_hub_has_replaced_meanwhile_is_refused(hub, tmp_path):
    fetch_here(tmp_path, shards(tmp_path))
    (tmp_path / "01_raw" / "conversations" / "a.parquet").unlink()
    hub.repositories["datasets/org/chats"]["data/a.parquet"] = parquet(40_000, seed=99)

    (refused,) = fetch_here(tmp_path, shards(tmp_path))

    assert "data/a.parquet has SHA-256" in refused.message
    assert "what was fetched before had" in refused.message
    assert not (tmp_path / "01_raw" / "conversations" / "a.parquet").exists()

    sha256 = hashlib.sha256(parquet(40_000, seed=99)).hexdigest()
    files = {**SHARDS, "data/a.parquet": FilePin(sha256=sha256)}
    (taken,) = fetch_here(tmp_path, make_input(tmp_path, "conversations", files=files))
    assert (taken.state, taken.message) == (State.FETCHED, "")


def test_only_what_is_missing_is_fetched_again(hub, tmp_path):
    fetch_here(tmp_path, shards(tmp_path))
    manifest = tmp_path / "01_raw" / "conversations" / ".fetched.json"
    before = json.loads(manifest.read_text())["inputs"]["conversations"]["files"]
    (tmp_path / "01_raw" / "conversations" / "a.parquet").unlink()
    hub.served.clear()

    (outcome,) = fetch_here(tmp_path, shards(tmp_path))

    assert (outcome.state, outcome.bytes) == (State.FETCHED, 90_000)
    assert [each.path.rpartition("/")[2] for each in hub.served] == ["a.parquet"]
    assert json.loads(manifest.read_text())["inputs"]["conversations"]["files"] == before


def test_a_killed_download_goes_on_where_it_stopped(hub, tmp_path):
    content = parquet(LARGE)
    hub.repositories["datasets/org/chats"] = {"data/a.parquet": content}
    hub.stall_at["a.parquet"] = LARGE - 1_000_000
    environment = hugging_face_environment(hub, tmp_path / "home")
    item = make_input(tmp_path, "conversations", files={"data/a.parquet": FilePin()})

    process = start_fetch(tmp_path, environment, item)
    assert hub.stalled.wait(30)
    part = tmp_path / "01_raw" / "conversations" / ".fetching" / "conversations" / COMMIT / "data"
    part /= "a.parquet.incomplete"
    while part.stat().st_size < 2 * 10 * 1024 * 1024:
        assert process.poll() is None
    process.kill()
    process.communicate()
    hub.go_on.set()
    kept = part.stat().st_size
    (outcome,) = fetch_there(tmp_path, environment, item)

    assert outcome["state"] == "fetched"
    assert [each.start for each in hub.downloads_of("a.parquet")] == [0, kept]
    assert hub.downloads_of("a.parquet")[1].sent == LARGE - kept
    assert (tmp_path / "01_raw" / "conversations" / "a.parquet").read_bytes() == content
    assert not (tmp_path / "01_raw" / "conversations" / ".fetching").exists()


def test_a_cut_connection_is_taken_up_again_within_one_command(hub, tmp_path):
    hub.repositories["datasets/org/chats"]["data/a.parquet"] = parquet(LARGE)
    hub.cut_at["a.parquet"] = LARGE - 1_000_000

    (outcome,) = fetch_here(tmp_path, shards(tmp_path))

    assert outcome.state == "fetched"
    assert [each.start for each in hub.downloads_of("a.parquet")] == [0, 2 * 10 * 1024 * 1024]


def test_wrong_checksums_are_refused_by_name_and_nothing_is_put_into_place(hub, tmp_path):
    hub.announced["data/b.parquet"] = "0" * 64
    pinned = {"data/a.parquet": FilePin(sha256="1" * 64)}

    announced, pinned_one = fetch_here(tmp_path, shards(tmp_path), make_input(tmp_path, "others", files=pinned))

    assert "data/b.parquet came with SHA-256" in announced.message
    assert "the hub announces 0000" in announced.message
    assert "data/a.parquet has SHA-256" in pinned_one.message
    assert f"but {'1' * 64} is pinned" in pinned_one.message
    for folder in ("conversations", "others"):
        assert [path.name for path in (tmp_path / "01_raw" / folder).iterdir()] == [".fetching"]
    assert (tmp_path / "01_raw" / "others" / ".fetching" / "a.parquet.refused").exists()


def test_a_pinned_size_and_what_is_no_parquet_file_are_refused(hub, tmp_path):
    hub.repositories["datasets/org/chats"]["data/b.parquet"] = noise(100)
    sized = make_input(tmp_path, "sized", files={"data/a.parquet": FilePin(bytes=39_999)})
    damaged = make_input(tmp_path, "damaged", files={"data/b.parquet": FilePin()})

    first, second = fetch_here(tmp_path, sized, damaged)

    assert "data/a.parquet has 40,000 bytes, but 39,999 are pinned" in first.message
    assert "data/b.parquet is no whole parquet file" in second.message


def test_a_missing_token_and_an_unaccepted_licence_are_named(hub, tmp_path, monkeypatch):
    hub.needs_token.add("datasets/org/chats")
    item = shards(tmp_path, licence=TO_ACCEPT)

    (without,) = fetch_here(tmp_path, item)
    asked_before = len(hub.requests)
    (unexpected,) = fetch_here(tmp_path, shards(tmp_path))
    hub.gated.add("datasets/org/chats")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    (refused,) = fetch_here(tmp_path, item)

    assert asked_before == 0
    assert "no Hugging Face token" in without.message
    assert "HF_TOKEN" in without.message
    assert "https://example.org/terms" in without.message
    assert "No token" in unexpected.message
    assert "accept the licence (terms) at https://example.org/terms" in refused.message
    assert "token:" not in refused.message


@pytest.mark.parametrize("pin", [{}, {"revision": COMMIT, "is_main": True}], ids=["newest", "shared pin"])
def test_a_model_goes_to_the_hubs_cache_where_its_name_finds_it_offline(hub, tmp_path, pin):
    weights = noise(30_000)
    hub.repositories["models/org/judge"] = {
        "config.json": b'{"model_type": "gemma2"}',
        "tokenizer.json": b"{}",
        "model-00001-of-00001.safetensors": weights,
        "consolidated.safetensors": b"a second copy",
        "pytorch_model.bin": b"a pickle",
        "modeling.py": b"code",
    }
    item = make_input(
        tmp_path,
        "org/judge",
        hub="huggingface_model",
        handle="org/judge",
        patterns=MODEL_FILES,
        folder=tmp_path / "01_raw",
        **pin,
    )
    environment = hugging_face_environment(hub, tmp_path / "home")

    (outcome,) = fetch_there(tmp_path, environment, item)
    hub.requests.clear()
    (again,) = fetch_there(tmp_path, environment, item)

    cache = tmp_path / "home" / "hub" / "models--org--judge"
    snapshot = cache / "snapshots" / COMMIT
    assert outcome["state"] == again["state"] == "fetched"
    assert hub.requests == []
    assert (cache / "refs" / "main").read_text() == COMMIT
    assert {path.name for path in snapshot.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "model-00001-of-00001.safetensors",
    }
    assert (snapshot / "model-00001-of-00001.safetensors").read_bytes() == weights
    assert (cache / "blobs" / hashlib.sha256(weights).hexdigest()).stat().st_size == 30_000
    assert len(hub.downloads_of("model-00001-of-00001.safetensors")) == 1
    assert resolve_offline(environment, "org/judge") == str(snapshot)


def resolve_offline(environment: dict[str, str], name: str) -> str:
    import subprocess
    import sys

    source = (
        f"from huggingface_hub import snapshot_download as s; print(s({name!r}, allow_patterns=['model*.safetensors']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", source],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()[-1]


def test_an_unknown_repository_and_a_hub_out_of_reach_are_told_in_one_message(hub, tmp_path, monkeypatch):
    nobody = shards(tmp_path, handle="org/nobody")
    (unknown,) = fetch_here(tmp_path, nobody)
    hub.url = "http://127.0.0.1:9"  # nobody listens there
    use_hugging_face(monkeypatch, hub, tmp_path / "home")
    (unreachable,) = fetch_here(tmp_path, shards(tmp_path))

    assert "there is no org/nobody at Hugging Face that you may see" in unknown.message
    assert "cannot be reached" in unreachable.message
    assert "the same command goes on" in unreachable.message


def test_weights_that_another_client_left_damaged_are_fetched_anew(hub, tmp_path):
    weights = noise(30_000)
    hub.repositories["models/org/judge"] = {"config.json": b"{}", "model.safetensors": weights}
    blob = tmp_path / "home" / "hub" / "models--org--judge" / "blobs" / hashlib.sha256(weights).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(30_000))
    item = make_input(
        tmp_path, "judge", hub="huggingface_model", handle="org/judge", patterns=MODEL_FILES, folder=tmp_path / "01_raw"
    )

    (outcome,) = fetch_here(tmp_path, item)

    assert (outcome.state, outcome.message) == (State.FETCHED, "")
    assert blob.read_bytes() == weights


def test_a_model_without_weights_in_safetensors_is_refused(hub, tmp_path):
    hub.repositories["models/org/judge"] = {"config.json": b"{}", "pytorch_model.bin": b"a pickle"}
    item = make_input(tmp_path, "judge", hub="huggingface_model", handle="org/judge", patterns=MODEL_FILES)

    (refused,) = fetch_here(tmp_path, item)

    assert "org/judge has no weights model*.safetensors" in refused.message
