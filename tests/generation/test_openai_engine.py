"""Endpoints on this machine that answer well and badly."""

import email.utils
import os
import signal
import socket
import threading
import time

import pytest

from tests.generation.answer_endpoint import Handler, completion, serve
from tests.generation.generation_cases import make_config
from wsdm_arena.config.generation import RetryConfig
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineConfigError, EngineError
from wsdm_arena.generation.openai_engine import (
    FAILURES_IN_ROW,
    openai_engine,
    parse_retry_after,
    retry_delay_s,
)

RETRIES = {"attempts": 3, "first_delay_s": 0.01, "max_delay_s": 5.0}


def ask(url, prompts, *, on_answer=None, retries=None, **model):
    config = make_config(
        {"hosted": {"engine": "openai", "model": "m-1", "base_url": url, **model}}, retries=retries or RETRIES
    )
    arrived: list[Answer] = []
    with openai_engine("hosted", config.answer_models["hosted"], config) as engine:
        requests = [AnswerRequest(prompt, prompt, number) for number, prompt in enumerate(prompts)]
        engine.answer(requests, on_answer or arrived.append)
    assert sorted(answer.request_id for answer in arrived) == sorted(prompts) or on_answer
    return {answer.request_id: answer for answer in arrived}


def fails_first(num_failures, status, headers=None):
    def reply(handler: Handler, attempt: int) -> None:
        if attempt <= num_failures:
            handler.send(status, {"error": {"message": f"sorry for {status}"}}, headers)
        else:
            handler.send(200, completion("at last"))

    return reply


def test_a_request_is_one_user_turn_with_sampling_seed_and_key(monkeypatch):
    monkeypatch.setenv("HOST_KEY", "secret")
    with serve({}) as endpoint:
        answers = ask(endpoint.url, ["hello\x00 \u2028"], api_key_variable="HOST_KEY")
    assert answers["hello\x00 \u2028"] == Answer("hello\x00 \u2028", "hello\x00 \u2028!", "stop")
    assert endpoint.bodies == [
        {
            "path": "/v1/chat/completions",
            "model": "m-1",
            "messages": [{"role": "user", "content": "hello\x00 \u2028"}],
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 4096,
            "seed": 0,
        }
    ]
    assert endpoint.headers[0]["authorization"] == "Bearer secret"


def test_stop_texts_are_handed_on():
    with serve({}) as endpoint:
        ask(endpoint.url, ["hello"], stop=["\n", "END"])
    assert endpoint.bodies[0]["stop"] == ["\n", "END"]


def test_an_answer_that_begins_with_a_stop_text_is_an_empty_answer():
    with serve({"hello": lambda handler, attempt: handler.send(200, completion(""))}) as endpoint:
        assert ask(endpoint.url, ["hello"], stop=["\n"])["hello"] == Answer("hello", "", "stop")
    assert endpoint.tries == {"hello": 1}


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_said_before_any_request(monkeypatch, value):
    monkeypatch.delenv("HOST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("HOST_KEY", value)
    with serve({}) as endpoint, pytest.raises(EngineConfigError, match="HOST_KEY"):
        ask(endpoint.url, ["hello"], api_key_variable="HOST_KEY")
    assert endpoint.bodies == []


def test_what_may_pass_is_tried_again_and_the_rest_is_not():
    replies = {str(status): fails_first(1, status) for status in (429, 408, 500, 502, 503, 400, 403, 404, 422)}
    with serve(replies) as endpoint:
        answers = ask(endpoint.url, list(replies))
    retried = {"429", "408", "500", "502", "503"}
    assert endpoint.tries == {status: 2 if status in retried else 1 for status in replies}
    assert {status for status, answer in answers.items() if answer.text == "at last"} == retried
    assert str(answers["404"].error).startswith("HTTP 404: ")
    assert str(answers["404"].error).endswith("sorry for 404 (attempt 1)")


def test_attempts_are_limited_and_the_failure_is_recorded():
    with serve({"broken": fails_first(99, 500)}) as endpoint:
        answers = ask(endpoint.url, ["broken", "fine"])
    assert endpoint.tries == {"broken": 3, "fine": 1}
    assert answers["broken"].finish_reason == "error"
    assert answers["broken"].text is None
    assert "(attempt 3)" in str(answers["broken"].error)
    assert answers["fine"].text == "fine!"


def test_retry_after_is_honoured():
    with serve({"busy": fails_first(1, 429, {"Retry-After": "1"})}) as endpoint:
        ask(endpoint.url, ["busy"])
    first, second = endpoint.times["busy"]
    assert second - first >= 1.0


def test_delays_double_follow_the_endpoint_and_are_limited():
    retries = RetryConfig(first_delay_s=1.0, max_delay_s=10.0)
    assert [retry_delay_s(attempt, None, retries) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert retry_delay_s(1, 5.0, retries) == 5
    assert retry_delay_s(3, 0.5, retries) == 4
    assert retry_delay_s(1, 3600.0, retries) == 10
    assert retry_delay_s(5000, None, RetryConfig(max_delay_s=7.0)) == 7


def test_retry_after_is_seconds_or_a_date():
    in_an_hour = parse_retry_after(email.utils.formatdate(time.time() + 3600, usegmt=True))
    assert in_an_hour == pytest.approx(3600, abs=30)
    assert [parse_retry_after(value) for value in ("2", "0.5", "-1", "soon", "nan", "", None)] == [
        2, 0.5, 0, None, None, None, None,
    ]  # fmt: skip


def test_answers_that_are_none_are_failures_and_cut_off_ones_are_not():
    replies = {
        "empty": lambda handler, attempt: handler.send(200, {**completion(""), "choices": []}),
        "blank": lambda handler, attempt: handler.send(200, completion(" \n")),
        "null": lambda handler, attempt: handler.send(200, completion(None)),
        "long": lambda handler, attempt: handler.send(200, completion("so far", "length")),
        "filtered": lambda handler, attempt: handler.send(200, completion("", "content_filter")),
        "unended": lambda handler, attempt: handler.send(200, completion("", None)),
        "page": lambda handler, attempt: handler.send(200, b"<html>", kind="html"),
        "broken": lambda handler, attempt: handler.send(200, b'{"choices": [{"mess'),
        "list": lambda handler, attempt: handler.send(200, [1]),
        "odd": lambda handler, attempt: handler.send(200, {"choices": [{"finish_reason": "stop", "message": None}]}),
        "strange": lambda handler, attempt: handler.send(200, {"choices": "none"}),
    }
    with serve(replies) as endpoint:
        answers = ask(endpoint.url, list(replies))
    assert (answers["long"].text, answers["long"].finish_reason) == ("so far", "length")
    failed = {prompt for prompt, answer in answers.items() if answer.finish_reason == "error"}
    assert failed == set(replies) - {"long"}
    assert {prompt: endpoint.tries[prompt] for prompt in failed} == {
        "empty": 3, "null": 3, "blank": 3, "page": 3,
        "broken": 3, "list": 3, "odd": 3, "strange": 3, "filtered": 1, "unended": 1,
    }  # fmt: skip
    assert "content_filter" in str(answers["filtered"].error)


def test_time_outs_and_closed_connections_are_tried_again():
    def hang(handler: Handler, attempt: int) -> None:
        if attempt == 1:
            time.sleep(1.0)
        handler.send(200, completion("awake"))

    def drip(handler: Handler, attempt: int) -> None:
        """Sends a byte now and then, so that no read times out."""
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        for _ in range(10):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)

    def hang_up(handler: Handler, attempt: int) -> None:
        if attempt == 1:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        else:
            handler.send(200, completion("back"))

    with serve({"hang": hang, "drip": drip, "hangup": hang_up}) as endpoint:
        answers = ask(endpoint.url, ["hang", "drip", "hangup"], timeout_s=0.4)
    assert answers["hang"].text == "awake"
    assert answers["hangup"].text == "back"
    assert endpoint.tries == {"hang": 2, "drip": 3, "hangup": 2}
    assert answers["drip"].error == "no answer within 0.4 s (attempt 3)"


def test_no_more_requests_are_under_way_than_allowed():
    def slow(handler: Handler, attempt: int) -> None:
        time.sleep(0.05)
        handler.send(200, completion("done"))

    prompts = [f"slow {number}" for number in range(30)]
    with serve({"slow": slow}) as endpoint:
        ask(endpoint.url, prompts, max_concurrency=4)
    assert endpoint.most_at_once == 4
    assert set(endpoint.tries.values()) == {1}


def test_an_endpoint_that_is_gone_is_given_up_after_some_requests():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        arrived: list[Answer] = []
        with pytest.raises(EngineError, match=f"{FAILURES_IN_ROW} requests in a row failed, the last: .*Connect"):
            ask(
                url, [f"p{n}" for n in range(200)], on_answer=arrived.append, retries={"attempts": 1}, max_concurrency=4
            )
    assert FAILURES_IN_ROW <= len(arrived) < FAILURES_IN_ROW + 4, "those under way end too"
    assert {answer.finish_reason for answer in arrived} == {"error"}


def test_what_on_answer_raises_ends_the_engine():
    def full_disk(answer: Answer) -> None:
        raise OSError("no space left on device")

    with serve({}) as endpoint, pytest.raises(OSError, match="no space left"):
        ask(endpoint.url, [f"p{n}" for n in range(100)], on_answer=full_disk, max_concurrency=2)
    assert threading.active_count() == threads_before()


@pytest.fixture
def restarted_calls():
    """SIGINT interrupts no system call, as some libraries have it once they are imported."""
    handler = signal.getsignal(signal.SIGINT)
    signal.siginterrupt(signal.SIGINT, False)
    yield
    signal.signal(signal.SIGINT, handler)  # Python's own flags again


def test_ctrl_c_does_not_wait_for_requests_under_way(restarted_calls):
    asked = threading.Event()

    def hang(handler: Handler, attempt: int) -> None:
        asked.set()
        time.sleep(3)

    def interrupt() -> None:
        asked.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    with serve({"hang": hang}) as endpoint:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            ask(endpoint.url, ["hang 1", "hang 2"])
        assert endpoint.at_once > 0, "they are still under way at the endpoint"
        thread.join()


def threads_before() -> int:
    """Threads of this process but the endpoint's and the engine's."""
    return sum(thread.name != "openai" for thread in threading.enumerate())
