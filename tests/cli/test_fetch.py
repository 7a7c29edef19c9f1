"""`kedro fetch` as it is typed, in the project's own configuration, without a network."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project

from tests.fetching.fetch_cases import parquet, use_hugging_face, use_kaggle
from tests.fetching.hub_server import serve
from wsdm_arena.cli import cli
from wsdm_arena.config_loader import ConfigurationError, LocalLastConfigLoader

PROJECT = Path(__file__).parents[2]
RECIPE = {  # by hub and name there
    ("kaggle_competition", "wsdm-cup-multilingual-chatbot-arena"): 3,
    ("kaggle_dataset", "nbroad/wsdm-open-models-nbroad"): 1,
    ("huggingface_dataset", "lmsys/lmsys-chat-1m"): 1,
    ("kaggle_dataset", "tascj0/lmsys-checkpoints-0-0805"): 1,
    ("kaggle_dataset", "tascj0/lmsys-checkpoints-3-0805"): 1,
}
GENERATORS = [
    "Qwen2.5-72B-Instruct",
    "Llama-3.3-70B-Instruct",
    "gemma-2-27b-it",
    "phi-4",
    "DeepSeek-R1-Distill-Qwen-32B",
    "Mistral-7B-Instruct-v0.3",
    "internlm2_5-20b-chat",
    "Llama-3.2-3B-Instruct",
    "Hermes-3-Llama-3.1-8B",
    "internlm3-8b-instruct",
    "gemma-2-9b-it",
    "DeepSeek-R1-Distill-Qwen-14B",
    "Llama-3.2-1B-Instruct",
    "QwQ-32B-Preview",
    "Qwen2.5-7B-Instruct",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The project's configuration without what a developer keeps in conf/local."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("conf", "src"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    for own in (folder / "conf" / "local").glob("*.y*ml"):
        own.unlink()
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serve() as running:
        running.kaggle["wsdm-cup-multilingual-chatbot-arena"] = {"train.parquet": parquet(1000)}
        use_kaggle(monkeypatch, running, tmp_path / "home", token=None)
        use_hugging_face(monkeypatch, running, tmp_path / "home")
        yield running


@pytest.fixture
def kedro(project, hub, monkeypatch, tmp_path):
    bootstrap_project(project)
    monkeypatch.chdir(project)

    def fetch(*arguments: str, env: str = "a100", params: str = "") -> Result:
        told = f"data_root={tmp_path / 'data'}" + (f",{params}" if params else "")
        return CliRunner().invoke(cli, ["fetch", "--env", env, "--params", told, *arguments])

    return fetch


def described(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_dry_run_prints_every_input_of_the_recipe(kedro, hub, tmp_path):
    told = described(kedro("--dry-run", "--json"))
    by_source: dict = {}
    for item in told["inputs"]:
        by_source.setdefault((item["hub"], item["handle"]), []).append(item)

    models = {key: items for key, items in by_source.items() if key[0] == "huggingface_model"}
    assert {key: len(items) for key, items in by_source.items() if key not in models} == RECIPE
    assert sorted(handle.partition("/")[2] for _, handle in models) == sorted(GENERATORS)
    assert all(item["bytes"] and item["licence"]["url"] for (item,) in models.values())
    places = {item["name"]: item["place"] for item in told["inputs"]}
    raw = tmp_path / "data" / "01_raw"
    assert places["train"] == str(raw / "train.parquet")
    assert places["conversations"] == str(raw / "conversations")
    assert places["gemma"] == str(raw / "checkpoints" / "gemma")
    assert told["bytes_to_download"] == sum(item["bytes"] or 0 for item in told["inputs"])
    assert hub.requests == []
    assert not (tmp_path / "data").exists()


def test_the_printed_dry_run_names_sizes_terms_tokens_and_room(kedro):
    result = kedro("--dry-run")

    assert result.exit_code == 0, result.output
    text = "".join(result.output.split())
    for name in (*(handle for _, handle in RECIPE), *GENERATORS):
        assert name in text.replace("│", ""), name
    for part in (
        "1.5GB",
        "https://www.kaggle.com/competitions/wsdm-cup-multilingual-chatbot-arena/rules",
        "https://huggingface.co/google/gemma-2-27b-it",
        "NoKaggletoken",
        "NoHuggingFacetoken",
        "arefree",
    ):
        assert part in text, part


def test_inputs_lie_where_the_catalog_reads_them(kedro, project, tmp_path):
    from wsdm_arena.cli.project import open_project

    places = {item["name"]: Path(item["place"]) for item in described(kedro("--dry-run", "--json"))["inputs"]}
    with open_project("a100", {"data_root": str(tmp_path / "data")}) as opened:
        names = {
            "train": "train_table",
            "test": "test_table",
            "sample_submission": "sample_submission",
            "collected_pairs": "collected_pairs_table",
            "conversations": "conversations",
            "gemma": "raw_checkpoint.gemma",
            "llama": "raw_checkpoint.llama",
        }
        read = {name: Path(opened.catalog.get(entry)._describe()["filepath"]) for name, entry in names.items()}
    assert {name: places[name] for name in names} == read


def test_one_input_is_fetched_and_what_keeps_another_is_said_at_the_end(kedro, monkeypatch, tmp_path):
    without = kedro("train")
    assert without.exit_code == 1
    assert "Error: train: no Kaggle token" in without.output
    assert "Traceback" not in without.output
    monkeypatch.setenv("KAGGLE_API_TOKEN", "token")

    result = kedro("train", "test")

    assert result.exit_code == 1
    assert "train: fetched" in result.output
    assert "Error: test: Kaggle has no wsdm-cup-multilingual-chatbot-arena with test.parquet" in result.output
    assert (tmp_path / "data" / "01_raw" / "train.parquet").read_bytes() == parquet(1000)
    told = described(kedro("train", "--json"))
    assert told["outcomes"] == [{"name": "train", "state": "fetched", "message": "", "bytes": 1000}]


def test_files_of_ones_own_are_left_out(kedro):
    told = described(kedro("--dry-run", "--json", params="raw.checkpoints=/elsewhere"))
    states = {item["name"]: (item["state"], item["detail"]) for item in told["inputs"]}
    assert states["gemma"] == states["llama"] == ("named by you", "/elsewhere")
    assert states["train"] == ("missing", "")


def test_a_judge_or_an_answer_model_names_its_model(kedro):
    told = described(kedro("gemma_large", "phi4", "--dry-run", "--json"))
    assert [item["name"] for item in told["inputs"]] == ["google/gemma-2-27b-it", "microsoft/phi-4"]


def test_an_environment_that_simulates_its_inputs_says_so(kedro):
    result = kedro("--dry-run", env="sample")
    assert result.exit_code == 1
    assert "env 'sample' simulates its inputs" in result.output
    assert "--env a100" in result.output


@pytest.fixture
def own_sources(project):
    path = project / "conf" / "local" / "sources.yml"
    yield path
    path.unlink()


def test_a_pin_of_ones_own_joins_the_rest_of_its_entry(kedro, own_sources):
    own_sources.write_text("inputs: { gemma: { revision: '4' }, train: { files: { train.parquet: { bytes: 7 } } } }")
    inputs = {item["name"]: item for item in described(kedro("--dry-run", "--json"))["inputs"]}
    assert (inputs["gemma"]["revision"], inputs["gemma"]["handle"]) == ("4", "tascj0/lmsys-checkpoints-0-0805")
    assert inputs["train"]["bytes"] == 7


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("inputs: { gemma: { handel: x } }", "inputs.gemma.handel: there is no such key"),
        ("inputs: { conversations: { revision: main } }", "revision must be a commit of 40 hexadecimal digits"),
        ("inputs: { gemma: { revision: v4 } }", "revision must be a version number"),
        ("inputs: { train: { revision: '1' } }", "a competition has no revision"),
        ("inputs: { train: { handle: a/b } }", "handle 'a/b' should be like name"),
        ("inputs: { gemma: { target: ../x } }", "inputs.gemma.target: '../x' does not stay within its folder"),
        ("inputs: { gemma: { handle: null } }", "`how` must say what to obtain"),
        ("inputs: { gemma: { raw: chekpoints } }", "inputs.gemma.raw: there is no key raw.chekpoints"),
        ("inputs: { train: { files: { train.parquet: { sha256: abc } } } }", "inputs.train.files.train.parquet.sha256"),
        ("inputs: { conversations: { files: { x/train-00000-of-00006-4feeb3f83346a0e9.parquet: {} } } }", "same name"),
    ],
)
def test_a_mistake_in_sources_names_its_place(project, own_sources, written, told):
    own_sources.write_text(written)
    loader = LocalLastConfigLoader(conf_source=str(project / "conf"), env="a100", **settings.CONFIG_LOADER_ARGS)
    with pytest.raises(ConfigurationError) as refused:
        loader["sources"]
    assert "sources of env 'a100'" in str(refused.value)
    assert told in str(refused.value)


def test_a_mistake_in_sources_is_one_message_of_the_command(kedro, own_sources):
    own_sources.write_text("inputs: { gemma: { handel: x } }")
    result = kedro("--dry-run")
    assert result.exit_code == 1
    assert "Error: sources of env 'a100'" in result.output
