import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetching.fetch_cases import TO_ACCEPT, fetch_here, make_input, noise, parquet, use_kaggle
from tests.fetching.hub_server import KAGGLE_VERSION, Hub, serve
from wsdm_arena.config.fetching import FilePin

MIB = 1024 * 1024
CONTEST = "cup"
PAIRS = "someone/pairs"
JUDGE = "someone/judge"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as running:
        running.kaggle[CONTEST] = {"train.parquet": parquet(5 * MIB), "sample_submission.csv": b"id,winner\n"}
        running.kaggle[PAIRS] = {"v1.parquet": parquet(1000, 1), "v2.parquet": parquet(2000, 2)}
        running.kaggle[JUDGE] = {"": zipped({"m0/config.json": b"{}", "m0/model.safetensors": noise(5 * MIB)})}
        yield running


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    use_kaggle(monkeypatch, hub, folder)
    return folder


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def contest(data_root: Path, name: str, file: str, **changes):
    values = {"hub": "kaggle_competition", "handle": CONTEST, "files": {file: FilePin()}, "licence": TO_ACCEPT}
    return make_input(data_root, name, folder=data_root / "01_raw", **values | changes)


def judge(data_root: Path, **changes):
    folder = data_root / "01_raw" / "checkpoints" / "gemma"
    return make_input(data_root, "gemma", **{"hub": "kaggle_dataset", "handle": JUDGE, "folder": folder} | changes)


def test_files_of_the_contest_lie_side_by_side_under_one_manifest(hub, tmp_path):
    outcomes = fetch_here(
        tmp_path,
        contest(tmp_path, "train", "train.parquet"),
        contest(tmp_path, "sample_submission", "sample_submission.csv"),
    )

    raw = tmp_path / "01_raw"
    assert [(each.state, each.message) for each in outcomes] == [("fetched", "")] * 2
    assert {path.name for path in raw.iterdir()} == {
        ".fetched.json",
        ".lock",
        "train.parquet",
        "sample_submission.csv",
    }
    assert (raw / "train.parquet").read_bytes() == hub.kaggle[CONTEST]["train.parquet"]
    manifest = json.loads((raw / ".fetched.json").read_text())
    assert set(manifest["inputs"]) == {"train", "sample_submission"}


def test_a_dataset_is_kept_to_the_version_of_its_first_file(hub, tmp_path):
    files = {"v1.parquet": FilePin(), "v2.parquet": FilePin()}
    item = make_input(tmp_path, "collected_pairs", hub="kaggle_dataset", handle=PAIRS, files=files)

    fetch_here(tmp_path, item)

    manifest = json.loads((item.folder / ".fetched.json").read_text())
    assert manifest["inputs"]["collected_pairs"]["revision"] == str(KAGGLE_VERSION)
    asked = [json.loads(each.split(" ", 2)[2]) for each in hub.requests if "DownloadDataset" in each]
    assert [each["datasetVersionNumber"] for each in asked] == [KAGGLE_VERSION, KAGGLE_VERSION]
    assert {path.name for path in item.folder.iterdir()} == {".fetched.json", "v1.parquet", "v2.parquet"}


def test_an_archive_is_unpacked_without_the_folder_around_it(hub, tmp_path):
    item = judge(tmp_path, revision="2")
    (outcome,) = fetch_here(tmp_path, item)

    assert outcome.state == "fetched"
    assert {path.name for path in item.folder.iterdir()} == {".fetched.json", "config.json", "model.safetensors"}
    assert any('"datasetVersionNumber": 2' in request for request in hub.requests)


@pytest.mark.parametrize("broken", ["train.parquet", "archive"])
def test_a_cut_connection_is_taken_up_again_where_it_broke(hub, tmp_path, broken):
    item = contest(tmp_path, "train", "train.parquet") if broken == "train.parquet" else judge(tmp_path)
    name = "train.parquet" if broken == "train.parquet" else ""
    size = len(hub.kaggle[item.handle][name])
    hub.cut_at[name] = 3 * MIB + 1000

    (outcome,) = fetch_here(tmp_path, item)

    downloads = hub.downloads_of(f"{item.handle}/{name}")
    assert (outcome.state, outcome.message) == ("fetched", "")
    assert downloads[-1].start == 3 * MIB
    assert downloads[-1].sent == size - 3 * MIB


def test_a_later_command_goes_on_with_what_an_earlier_one_left(hub, tmp_path, monkeypatch):
    item = contest(tmp_path, "train", "train.parquet")
    monkeypatch.setattr("wsdm_arena.fetching.kaggle.ATTEMPTS", 1)
    hub.cut_at["train.parquet"] = 2 * MIB
    (broken,) = fetch_here(tmp_path, item)
    assert "the same command goes on where it stopped" in broken.message
    assert not (tmp_path / "01_raw" / "train.parquet").exists()

    (outcome,) = fetch_here(tmp_path, item)

    assert outcome.state == "fetched"
    assert hub.downloads_of("train.parquet")[-1].start == 2 * MIB
    assert (tmp_path / "01_raw" / "train.parquet").read_bytes() == hub.kaggle[CONTEST]["train.parquet"]


def test_a_wrong_checksum_is_refused_by_name_and_put_aside(hub, tmp_path):
    item = contest(tmp_path, "train", "train.parquet", files={"train.parquet": FilePin(sha256="0" * 64)})

    (refused,) = fetch_here(tmp_path, item)

    aside = tmp_path / "01_raw" / ".fetching" / "train.parquet.refused"
    assert "train: train.parquet has SHA-256" in refused.message
    assert f"put aside as {aside}" in refused.message
    assert aside.exists()
    assert not (tmp_path / "01_raw" / "train.parquet").exists()


def test_what_is_there_and_was_not_fetched_stays(hub, tmp_path):
    own = tmp_path / "01_raw" / "train.parquet"
    own.parent.mkdir()
    own.write_bytes(parquet(100))

    (kept,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))
    pinned = contest(tmp_path, "train", "train.parquet", files={"train.parquet": FilePin(sha256="0" * 64)})
    (refused,) = fetch_here(tmp_path, pinned)

    assert (kept.state, kept.message) == ("there, not by fetch", "")
    assert "is pinned in sources.yml" in refused.message
    assert own.read_bytes() == parquet(100)
    assert hub.requests == []


def test_without_a_token_nothing_is_asked(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")

    (refused,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))

    assert "no Kaggle token" in refused.message
    assert "KAGGLE_API_TOKEN" in refused.message
    assert "https://example.org/terms" in refused.message
    assert hub.requests == []


def test_the_clients_own_file_is_a_token(hub, tmp_path, monkeypatch, home):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text('{"username": "someone", "key": "secret"}')

    (outcome,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))

    assert outcome.state == "fetched"


@pytest.mark.parametrize("content", ["{", '{"username": "someone"}'])
def test_a_damaged_file_of_the_client_is_named(hub, tmp_path, monkeypatch, home, content):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text(content)

    (refused,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))

    assert str(home / ".kaggle" / "kaggle.json") in refused.message


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "accept the terms at https://example.org/terms"),
        (403, "accept the terms at https://example.org/terms"),
        (404, "Kaggle has no cup with train.parquet"),
        (503, "Kaggle answers 503"),
    ],
)
def test_refusals_are_told_with_their_cure(hub, tmp_path, status, told):
    hub.kaggle_status = status

    (refused,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))

    assert told in refused.message


@pytest.mark.parametrize("damaged", [b"<html>come back later</html>", "cut"])
def test_an_archive_that_is_none_is_refused_and_fetched_anew(hub, tmp_path, damaged):
    good = hub.kaggle[JUDGE][""]
    hub.kaggle[JUDGE][""] = good[:MIB] + bytes(MIB) + good[2 * MIB :] if damaged == "cut" else damaged
    (refused,) = fetch_here(tmp_path, judge(tmp_path))
    hub.kaggle[JUDGE][""] = good

    (outcome,) = fetch_here(tmp_path, judge(tmp_path))

    assert "damaged" in refused.message
    assert outcome.state == "fetched"


def test_a_failure_does_not_keep_the_others(hub, tmp_path):
    absent = contest(tmp_path, "absent", "absent.parquet")
    outcomes = fetch_here(tmp_path, absent, contest(tmp_path, "train", "train.parquet"))

    assert [bool(each.message) for each in outcomes] == [True, False]
    assert (tmp_path / "01_raw" / "train.parquet").exists()


def test_kaggle_out_of_reach_is_told_at_once(hub, tmp_path, monkeypatch):
    hub.url = "http://127.0.0.1:9"  # nobody listens there
    use_kaggle(monkeypatch, hub, tmp_path / "home")
    monkeypatch.setattr("wsdm_arena.fetching.kaggle.time.sleep", lambda seconds: pytest.fail("it waited"))

    (refused,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))

    assert "Kaggle cannot be reached" in refused.message


def test_a_file_that_comes_zipped_is_unpacked(hub, tmp_path):
    hub.kaggle[CONTEST] = {"train.parquet.zip": zipped({"train.parquet": parquet(MIB)})}

    (outcome,) = fetch_here(tmp_path, contest(tmp_path, "train", "train.parquet"))

    assert (outcome.state, outcome.message) == ("fetched", "")
    assert (tmp_path / "01_raw" / "train.parquet").read_bytes() == parquet(MIB)
