import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from tests.fetching.fetch_cases import LICENCE, TO_ACCEPT, fetch_here, make_input, parquet, use_hugging_face, use_kaggle
from tests.fetching.hub_server import Hub
from wsdm_arena.config import ProjectConfig
from wsdm_arena.config.fetching import FilePin, HubModelConfig, SourceConfig, SourcesConfig
from wsdm_arena.fetching import FetchError, fetch_inputs, list_inputs, plan_fetch
from wsdm_arena.fetching.inputs import MODEL_FILES
from wsdm_arena.fetching.manifest import Fetched, write_fetched
from wsdm_arena.fetching.presence import State, find_presence
from wsdm_arena.runs.digests import DigestCache
from wsdm_arena.runs.files import describe_file

COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clients that find no token, and whose hub is nowhere."""
    hub = Hub(url="http://127.0.0.1:9")
    use_kaggle(monkeypatch, hub, tmp_path / "home", token=None)
    use_hugging_face(monkeypatch, hub, tmp_path / "home")


def project(**changes) -> ProjectConfig:
    judge = {"system_role": False}
    values = {
        "roster": {"teachers": ["gemma", "large"], "students": ["gemma"]},
        "judges": {"gemma": judge, "large": {**judge, "backbone": {"source": "org/large"}}},
        "generation": {
            "rounds": {"v1": {"first_language": [0, 1], "others": [0, 1], "answer_models": ["small", "hosted"]}},
            "answer_models": {
                "small": {"engine": "vllm", "model": "org/small", "trust_remote_code": True},
                "hosted": {"engine": "openai", "model": "org/hosted", "base_url": "https://example.org/v1"},
                "unused": {"engine": "vllm", "model": "org/unused"},
            },
        },
    }
    return ProjectConfig.model_validate(complete(values | changes))


def complete(values: dict) -> dict:
    """With all else as conf/base has it."""
    base = yaml.safe_load((Path(__file__).parents[2] / "conf" / "base" / "parameters.yml").read_text())
    stages = {name: {"truncation": stage["truncation"]} for name, stage in base["stages"].items()}
    teachers, students = (
        {name: {"weight": 1, "orders": ["ab"]} for name in values["roster"][role]} for role in ("teachers", "students")
    )
    labels = {
        "collected_pairs": {**base["pseudo_labels"]["collected_pairs"], "judges": teachers},
        "generated_pairs": {**base["pseudo_labels"]["generated_pairs"], "judges": students},
    }
    submission = {stage: {"weights": dict.fromkeys(students, 1)} for stage in ("student", "final")}
    return {**base, "stages": stages, "pseudo_labels": labels, "submission": submission, **values}


def source(**changes) -> SourceConfig:
    values = {"what": "x", "hub": "kaggle_dataset", "handle": "a/b", "licence": LICENCE}
    return SourceConfig.model_validate(values | changes)


def listed(sources: SourcesConfig, tmp_path: Path, own_files=None, config=None):
    return list_inputs(
        sources, config or project(), data_root=tmp_path, own_files=own_files or {}, project=tmp_path / "project"
    )


def test_models_are_those_that_take_part_or_answer(tmp_path):
    known = {"org/large": HubModelConfig(bytes=5, licence=TO_ACCEPT)}
    gemma, large, small = listed(SourcesConfig(models=known), tmp_path)

    assert (gemma.name, gemma.handle) == ("gemma", None)
    assert "judges.gemma.backbone.source" in gemma.how
    assert (large.name, large.aliases, large.bytes, large.licence) == ("org/large", ("large",), 5, TO_ACCEPT)
    assert (small.name, small.aliases, small.bytes) == ("org/small", ("small",), None)
    assert large.patterns == MODEL_FILES
    assert "*.py" in small.patterns
    assert small.licence.url == "https://huggingface.co/org/small"


def test_a_checkpoint_is_left_out_when_its_judge_has_another_source(tmp_path):
    sources = SourcesConfig(inputs={"large": source(judge="large"), "gemma": source(judge="gemma", target="x")})
    assert [item.name for item in listed(sources, tmp_path)] == ["gemma", "org/large", "org/small"]


def pinned_twice(first: str | None, second: str | None) -> ProjectConfig:
    """A judge and an answer model are the same repository."""
    judges = {
        "gemma": {"system_role": False},
        "large": {"system_role": False, "backbone": {"source": "org/small", "revision": first}},
    }
    config = project(judges=judges)
    small = config.generation.answer_models["small"].model_copy(update={"revision": second})
    models = {**config.generation.answer_models, "small": small}
    generation = config.generation.model_copy(update={"answer_models": models})
    return config.model_copy(update={"generation": generation})


@pytest.mark.parametrize(
    ("pins", "revision", "is_main"),
    [
        ((COMMIT, None), COMMIT, True),
        ((None, COMMIT), COMMIT, True),
        ((COMMIT, COMMIT), COMMIT, False),
        ((None, None), None, True),
    ],
)
def test_readers_of_one_model_share_its_pin(tmp_path, pins, revision, is_main):
    inputs = listed(SourcesConfig(), tmp_path, config=pinned_twice(*pins))
    (planned,) = plan_fetch(inputs, ["small", "large"]).inputs
    assert (planned.item.revision, planned.item.is_main) == (revision, is_main)


def test_one_model_at_two_revisions_is_refused_if_it_is_asked_for(tmp_path):
    inputs = listed(SourcesConfig(), tmp_path, config=pinned_twice(COMMIT, "b" * 40))
    told = f"judges.large.backbone.revision={COMMIT} and generation.answer_models.small.revision={'b' * 40}; state one"
    for names in ([], ["small"], ["org/small"]):
        with pytest.raises(FetchError, match=f"org/small is wanted at two revisions: {re.escape(told)}"):
            plan_fetch(inputs, names)
    assert [planned.item.name for planned in plan_fetch(inputs, ["gemma"]).inputs] == ["gemma"]


def test_files_of_ones_own_are_named_and_nothing_is_fetched(tmp_path):
    sources = SourcesConfig(inputs={"gemma": source(judge="gemma", raw="checkpoints", target="checkpoints/gemma")})
    item = listed(sources, tmp_path, own_files={"checkpoints": "/elsewhere"})[0]

    (outcome,) = fetch_here(tmp_path, item)

    assert find_presence(item).detail == "/elsewhere"
    assert (outcome.state, outcome.message) == (State.NAMED, "")


def test_what_no_hub_has_is_listed_with_what_to_obtain(tmp_path):
    sources = SourcesConfig(inputs={"pairs": source(handle=None, how="ask the authors", target="pairs")})
    item = listed(sources, tmp_path)[0]
    plan = plan_fetch([item])

    (outcome,) = fetch_inputs(plan, tmp_path)

    assert plan.inputs[0].presence.state is State.BY_HAND
    assert outcome.message == f"pairs: obtain ask the authors; it goes to {tmp_path / '01_raw' / 'pairs'}"
    (tmp_path / "01_raw" / "pairs").mkdir()
    (tmp_path / "01_raw" / "pairs" / "a.parquet").touch()
    assert find_presence(item).state is State.OWN


def test_nothing_is_downloaded_where_there_is_no_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 29_000_000_000))
    archive = make_input(tmp_path, "gemma", hub="kaggle_dataset", handle="a/b", bytes=10_000_000_000)
    plan = plan_fetch([archive])
    plan.require_room()
    assert plan.bytes_to_download == 10_000_000_000
    assert plan.disks[0].needed == 20_000_000_000  # archive and what is unpacked

    more = plan_fetch([archive, make_input(tmp_path, "chats", bytes=10_000_000_000)])
    with pytest.raises(FetchError, match=r"has 29\.0 GB free, and 30\.0 GB are to come"):
        fetch_inputs(more, tmp_path)
    assert not (tmp_path / "01_raw").exists()


def test_a_simulated_arena_is_not_mixed_with_real_files(tmp_path):
    (tmp_path / "01_raw").mkdir()
    (tmp_path / "01_raw" / "simulated_truth.parquet").touch()
    with pytest.raises(FetchError, match="holds a simulated arena"):
        fetch_here(tmp_path, make_input(tmp_path, "chats"))


def test_names_are_those_of_inputs_judges_and_answer_models(tmp_path):
    inputs = [make_input(tmp_path, "train"), make_input(tmp_path, "org/m", aliases=("judge", "answers"))]
    assert [each.item.name for each in plan_fetch(inputs, ["answers", "judge", "org/m"]).inputs] == ["org/m"]
    with pytest.raises(FetchError, match="there is no input 'tset' here; known: train, judge, answers"):
        plan_fetch(inputs, ["tset"])


def record(item, revision: str | None, *names: str) -> None:
    files = {name: describe_file(item.folder / name) for name in names}
    write_fetched(item.folder, item.name, Fetched(item.hub, item.handle, revision, "2026-11-22", files))


@pytest.fixture
def fetched(tmp_path):
    item = make_input(tmp_path, "chats", files={"data/a.parquet": FilePin(), "data/b.parquet": FilePin()})
    item.folder.mkdir(parents=True)
    for name in ("a.parquet", "b.parquet"):
        (item.folder / name).write_bytes(parquet(100))
    record(item, COMMIT, "a.parquet", "b.parquet")
    return item


def test_what_is_here_is_told_by_names_and_sizes(fetched, tmp_path):
    assert find_presence(fetched).state is State.FETCHED
    a, b = (fetched.folder / name for name in ("a.parquet", "b.parquet"))
    a.unlink()
    assert find_presence(fetched).state is State.PARTIAL
    assert find_presence(fetched).bytes_here == 100
    b.unlink()
    assert find_presence(fetched).state is State.MISSING
    a.write_bytes(parquet(101))
    assert find_presence(fetched).state is State.CHANGED
    assert f"{a} has 101 bytes, not the 100" in find_presence(fetched).detail


def test_files_that_are_only_partly_ones_own_are_refused(fetched):
    (fetched.folder / ".fetched.json").unlink()
    assert find_presence(fetched).state is State.OWN
    (fetched.folder / "b.parquet").unlink()
    assert "a.parquet is there and was not fetched, others are missing" in find_presence(fetched).detail


def test_another_pin_or_handle_than_was_fetched_is_refused(fetched, tmp_path):
    pinned = make_input(tmp_path, "chats", files=fetched.files, revision="b" * 40)
    other = make_input(tmp_path, "chats", files=fetched.files, handle="org/others")

    outcomes = fetch_here(tmp_path, pinned, other)

    assert f"holds revision {COMMIT}" in outcomes[0].message
    assert "holds org/chats, not org/others" in outcomes[1].message


def test_what_was_fetched_and_is_gone_is_in_nobodys_way(fetched, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        (fetched.folder / name).unlink()
    pinned = make_input(tmp_path, "chats", files=fetched.files, revision="b" * 40)
    assert find_presence(pinned).state is State.MISSING
    assert find_presence(pinned).fetched is None


def test_a_pin_that_comes_later_is_compared_with_what_is_there(fetched, tmp_path):
    files = {**fetched.files, "data/b.parquet": FilePin(sha256="0" * 64)}
    (refused,) = fetch_here(tmp_path, make_input(tmp_path, "chats", files=files))
    assert "b.parquet in" in refused.message
    assert f"{'0' * 64} is pinned" in refused.message


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 9, "inputs": {}}', '{"format": 1, "inputs": {"chats": {"files": {"../x": 1}}}}']
)
def test_a_damaged_manifest_is_named(fetched, content):
    (fetched.folder / ".fetched.json").write_text(content)
    with pytest.raises(FetchError, match=r"\.fetched\.json is damaged .*; remove it"):
        plan_fetch([fetched])


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "01_raw").write_text("a file where the folder should be")
    with pytest.raises(FetchError, match=r"01_raw cannot be made \(File exists\)"):
        fetch_here(tmp_path, make_input(tmp_path, "chats"))


def test_a_full_disk_is_told_and_the_others_go_on(fetched, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("wsdm_arena.fetching.fetch.download_dataset", fail)
    full, there = fetch_here(tmp_path, make_input(tmp_path, "others"), fetched)
    assert "others: somewhere cannot be written (No space left on device)" in full.message
    assert there.message == ""


def test_downloads_do_not_change_the_digest_of_what_is_there(fetched):
    before = DigestCache().digest([fetched.folder])
    (fetched.folder / ".fetching").mkdir()
    (fetched.folder / ".fetching" / "c.parquet").touch()
    assert DigestCache().digest([fetched.folder]) == before


def test_backbones_find_all_that_they_read_among_a_models_files():
    from fnmatch import fnmatch

    from wsdm_arena.modeling.backbone_source import HUB_FILES

    left_out = [name for name in HUB_FILES if not any(fnmatch(name, pattern) for pattern in MODEL_FILES)]
    assert left_out == []
