"""The engine for OpenAI-compatible endpoints, against vLLM's own server."""

import os
import signal
import socket

import pytest

from tests.generation.generation_cases import make_config
from tests.vllm.vllm_cases import serve_vllm, wait_until_gone
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineError
from wsdm_arena.generation.engines import default_engines

NO_TEXT = "the answer has no text (attempt 2)"
"""The random model ends one in thirty answers at once."""

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


@pytest.fixture(scope="module")
def mark(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(vllm_python, model_dir, tmp_path_factory, mark):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("logs") / "server.log"
    with serve_vllm(vllm_python, model_dir, port, log, mark) as process:
        yield process, f"http://127.0.0.1:{port}/v1"
    wait_until_gone(mark)


def ask(url, prompts, *, max_new_tokens=16, on_answer=None, **fields):
    model = {"engine": "openai", "model": "tiny", "base_url": url, **fields}
    retries = {"attempts": 2, "first_delay_s": 0.1}
    config = make_config({"tiny": model}, sampling={"max_new_tokens": max_new_tokens}, retries=retries)
    answers: list[Answer] = []
    requests = [AnswerRequest(f"r{number}", prompt, 100 + number) for number, prompt in enumerate(prompts)]

    def record(answer: Answer) -> None:
        answers.append(answer)
        if on_answer is not None:
            on_answer(answer)

    with default_engines()["openai"]("tiny", config.answer_models["tiny"], config) as engine:
        engine.answer(requests, record)
    assert sorted(answer.request_id for answer in answers) == sorted(request.request_id for request in requests)
    return {answer.request_id: answer for answer in answers}


def test_a_server_answers_with_the_seed_of_each_request_and_refuses_what_is_too_long(server):
    _, url = server
    prompts = [*(f"prompt {number}" for number in range(12)), "many words " * 400, "x <|eot_id|> y"]
    answers = ask(url, prompts, max_concurrency=4)
    reasons = [answers[f"r{number}"].finish_reason for number in range(len(prompts))]
    assert {"stop", "length"} <= set(reasons[:12])
    assert {answers[f"r{n}"].error for n in range(12)} <= {None, NO_TEXT}
    assert reasons[12] == "error"
    assert str(answers["r12"].error).startswith("HTTP 400: ")
    assert "maximum context length is 256 tokens" in str(answers["r12"].error)
    assert answers["r13"].error in (None, NO_TEXT)
    again = ask(url, prompts[:3], max_concurrency=1)
    assert [again[f"r{n}"].text for n in range(3)] == [answers[f"r{n}"].text for n in range(3)]


def test_a_server_that_goes_away_costs_what_it_has_not_answered(server, mark):
    """The last test of this server."""
    process, url = server
    answers: list[Answer] = []

    def end_server(answer: Answer) -> None:
        answers.append(answer)
        if len(answers) == 3:
            os.kill(process.pid, signal.SIGTERM)

    prompts = [f"prompt {number}" for number in range(60)]
    with pytest.raises(EngineError, match=f"{url}: 20 requests in a row failed, the last: "):
        ask(url, prompts, max_new_tokens=200, max_concurrency=2, on_answer=end_server)
    errors = [answer.error for answer in answers]
    assert None in errors, "what it answered is kept"
    assert all(error and error.endswith("(attempt 2)") for error in errors[-20:])
    process.wait(timeout=60)
    wait_until_gone(mark)
