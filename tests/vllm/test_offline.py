"""Answers of the real vLLM in a worker of ours: what it makes of prompts, and how it says that it cannot start."""

import json
import shutil

import pandas as pd
import pytest
from transformers import AutoTokenizer

from tests.generation.generation_cases import processes_with
from tests.vllm.vllm_cases import MARK, vllm_config
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineError
from wsdm_arena.generation.engines import default_engines
from wsdm_arena.generation.generate import generate_answers
from wsdm_arena.generation.transformers_worker import answer_with_transformers
from wsdm_arena.generation.vllm_worker import Job

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

TOO_LONG = "many words " * 400
PROMPTS = [
    "Hello",
    "What is two and two?",
    "数字 \x00 \u2028\n",
    "A turn ends with <|eot_id|> and one begins with <|start_header_id|>system<|end_header_id|>\n\n",
    "<|begin_of_text|><|end_of_text|>",
    *(f"prompt {number}" for number in range(8)),
]


@pytest.fixture(autouse=True)
def mark(tmp_path, monkeypatch):
    monkeypatch.setenv(MARK, str(tmp_path))
    yield str(tmp_path)
    assert processes_with(MARK, str(tmp_path)) == []


def answer_with_ours(model_dir, prompts):
    """The same by transformers, in this process."""
    engine = {"revision": None, "trust_remote_code": False, "max_model_len": 256, "dtype": "float32"}
    job = Job(str(model_dir), engine, {"temperature": 0.0, "top_p": 0.9, "max_tokens": 16}, 1, "", "")
    answers = {}
    requests = [{"request_id": str(number), "prompt": prompt, "seed": 1} for number, prompt in enumerate(prompts)]
    answer_with_transformers(job, requests, lambda request, *answer: answers.update({request["request_id"]: answer}))
    return [answers[str(number)] for number in range(len(prompts))]


def test_vllm_and_transformers_read_prompts_alike_and_one_that_is_too_long_is_refused_alone(
    vllm_python, model_dir, tmp_path
):
    prompts = [*PROMPTS, TOO_LONG]
    requests = pd.DataFrame({"request_id": [f"r{n}" for n in range(len(prompts))], "prompt": prompts})
    requests["answer_model"] = "tiny"
    config = vllm_config(vllm_python, model_dir)
    engines = default_engines(log_folder=tmp_path / "logs")
    table = generate_answers(requests, config, folder=tmp_path / "answers", engines=engines)
    expected = answer_with_ours(model_dir, prompts)
    # vLLM does not show the bytes of a character that is not complete yet, nor a space before them.
    texts = [str(text).rstrip("\ufffd ") for text in table["text"][:-1]]
    assert texts == [str(text).rstrip("\ufffd ") for text, *_ in expected[:-1]]
    assert table["finish_reason"].tolist() == [reason for _, reason, _ in expected]
    assert set(table["finish_reason"][:-1]) == {"stop", "length"}
    assert table["finish_reason"].iloc[-1] == "error"
    assert table["error"].iloc[-1].startswith("vLLM refuses the prompt: ")
    assert "maximum context length is 256 tokens" in table["error"].iloc[-1]
    control = AutoTokenizer.from_pretrained(model_dir).all_special_tokens
    assert not any(token in text for token in control for text in table["text"][:-1])


def test_what_stops_vllm_from_starting_is_said_with_its_cure(vllm_python, model_dir, tmp_path):
    """One engine each that has no room for a sequence, or an architecture that nobody knows."""
    strange = tmp_path / "strange"
    shutil.copytree(model_dir, strange)
    settings = json.loads((strange / "config.json").read_text())
    settings |= {"architectures": ["StrangeForCausalLM"], "model_type": "strange"}
    (strange / "config.json").write_text(json.dumps(settings))
    tight = vllm_config(vllm_python, model_dir, vllm={"cpu_kv_cache_gib": 1e-5})
    for config, cure, words in (
        (
            tight,
            "there is no room for the keys and values of one sequence: lower generation.answer_models.tiny",
            "memory",
        ),
        (vllm_config(vllm_python, strange), "set generation.answer_models.tiny.engine to transformers", "`strange`"),
    ):
        first, second, *_ = failure(config, tmp_path / "logs").splitlines()
        assert first.startswith("worker processes failed: ")
        assert cure in first
        assert second.startswith("vLLM said: ")
        assert words in second
    assert processes_with(MARK, str(tmp_path)) == []
    assert "`strange`" in (tmp_path / "logs" / "tiny.log").read_text()


def failure(config, log_folder) -> str:
    answers: list[Answer] = []
    factory = default_engines(log_folder=log_folder)["vllm"]
    with (
        factory("tiny", config.answer_models["tiny"], config) as engine,
        pytest.raises(EngineError) as caught,
    ):
        engine.answer([AnswerRequest("r", "Hello", 1)], answers.append)
    assert answers == []
    return str(caught.value)
