"""Ask any endpoint that speaks OpenAI's chat completions, many requests at once, and again where one fails."""

import asyncio
import email.utils
import importlib.util
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, Field, ValidationError

from wsdm_arena.config.generation import AnswerModelConfig, GenerationConfig, RetryConfig, SamplingConfig
from wsdm_arena.generation.engine import (
    Answer,
    AnswerEngine,
    AnswerRequest,
    EngineConfigError,
    EngineError,
    FinishReason,
)

if TYPE_CHECKING:  # takes a second to import
    from openai import AsyncOpenAI

FAILURES_IN_ROW = 20
"""So many requests (at least twice as many as are under way at once) failed one after the other, each after its last
attempt: the endpoint is gone, the key or the model is wrong, and the rest would only wait for the same end."""

_POLL_INTERVAL_S = 0.2
_RETRIED_STATUS = {408, 409, 425, 429}  # and 5xx; the endpoint may answer the same request later


class _TryFailedError(Exception):
    """One try failed.

    Attributes:
        may_pass: Whether another try may succeed.
        retry_after_s: How long the endpoint asks to wait.
    """

    def __init__(self, reason: str, *, may_pass: bool, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.may_pass, self.retry_after_s = may_pass, retry_after_s


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """What is used of a reply; the client library checks nothing."""

    choices: list[_Choice] = Field(min_length=1)


class OpenAIEngine:
    """Sends each prompt as the only turn of the user; at most ``max_concurrency`` requests are under way.

    Args:
        model: The endpoint and its name of the model.
        sampling: Sent with each request, as is its seed; an endpoint may ignore the seed.
        retries: What happens to requests that fail.
        key: None where the endpoint needs none.
    """

    def __init__(
        self, model: AnswerModelConfig, sampling: SamplingConfig, retries: RetryConfig, key: str | None
    ) -> None:
        self._model, self._sampling, self._retries, self._key = model, sampling, retries, key
        self._failures_in_row = 0

    def answer(self, requests: Sequence[AnswerRequest], on_answer: Callable[[Answer], None]) -> None:
        """See :class:`~wsdm_arena.generation.engine.AnswerEngine`.

        A failure after the last attempt is an answer too. What is under way when this thread is interrupted is
        dropped at once.

        Raises:
            EngineError: Too many requests in a row failed (:data:`FAILURES_IN_ROW`).
        """
        self._failures_in_row = 0
        arrived: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        conversations = _BackgroundTask(lambda: self._ask_all(requests, arrived.put), on_failure=arrived.put)
        with conversations:
            for _ in requests:
                answer = _wait_for(arrived)
                if isinstance(answer, Exception):
                    raise answer
                on_answer(answer)

    async def _ask_all(self, requests: Sequence[AnswerRequest], hand_on: Callable[[Answer], None]) -> None:
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            base_url=self._model.base_url,
            api_key=self._key or "none",  # the client insists on one
            timeout=self._model.timeout_s,
            max_retries=0,  # tries are counted here
        )
        waiting = iter(requests)
        num_lanes = min(self._model.max_concurrency, len(requests))
        async with client:
            lanes = [asyncio.create_task(self._ask_in_turn(client, waiting, hand_on)) for _ in range(num_lanes)]
            try:
                await asyncio.gather(*lanes)
            finally:
                for lane in lanes:
                    lane.cancel()

    async def _ask_in_turn(
        self, client: "AsyncOpenAI", waiting: Iterator[AnswerRequest], hand_on: Callable[[Answer], None]
    ) -> None:
        for request in waiting:
            answer = await self._ask(client, request)
            hand_on(answer)
            self._failures_in_row = self._failures_in_row + 1 if answer.finish_reason == "error" else 0
            if self._failures_in_row >= max(FAILURES_IN_ROW, 2 * self._model.max_concurrency):
                failed = f"{self._failures_in_row} requests in a row failed"
                raise EngineError(f"{self._model.base_url}: {failed}, the last: {answer.error}")

    async def _ask(self, client: "AsyncOpenAI", request: AnswerRequest) -> Answer:
        for attempt in range(1, self._retries.attempts + 1):
            try:
                return await self._try(client, request)
            except _TryFailedError as failed:
                if not failed.may_pass or attempt == self._retries.attempts:
                    return Answer(request.request_id, None, "error", f"{failed} (attempt {attempt})")
                await asyncio.sleep(retry_delay_s(attempt, failed.retry_after_s, self._retries))
        raise AssertionError("there is at least one attempt")

    async def _try(self, client: "AsyncOpenAI", request: AnswerRequest) -> Answer:
        import openai

        try:
            # The client's own time-out starts anew with every byte that comes.
            async with asyncio.timeout(self._model.timeout_s):
                response = await client.chat.completions.with_raw_response.create(
                    model=self._model.model,
                    messages=[{"role": "user", "content": request.prompt}],
                    temperature=self._sampling.temperature,
                    top_p=self._sampling.top_p,
                    max_tokens=self._sampling.max_new_tokens,
                    seed=request.seed,
                    stop=list(self._model.stop) or openai.omit,
                )
            completion = _Completion.model_validate_json(response.content)
        except (TimeoutError, openai.APITimeoutError):
            raise _TryFailedError(f"no answer within {self._model.timeout_s:g} s", may_pass=True) from None
        except openai.APIStatusError as error:
            status = error.status_code
            raise _TryFailedError(
                f"HTTP {status}: {_first_words(error.message)}",
                may_pass=status >= 500 or status in _RETRIED_STATUS,
                retry_after_s=parse_retry_after(error.response.headers.get("retry-after")),
            ) from None
        except ValidationError as error:
            raise _TryFailedError(f"the reply is no completion: {_first_words(error)}", may_pass=True) from None
        except (openai.OpenAIError, ValueError) as error:  # no connection
            cause = error.__cause__ or error
            raise _TryFailedError(f"{type(cause).__name__}: {_first_words(cause)}", may_pass=True) from None
        choice = completion.choices[0]
        if choice.finish_reason not in ("stop", "length"):
            raise _TryFailedError(f"the answer ended with finish_reason {choice.finish_reason!r}", may_pass=False)
        is_stopped = bool(self._model.stop) and choice.finish_reason == "stop"  # perhaps by its first characters
        if not (choice.message.content or "").strip() and not is_stopped:
            raise _TryFailedError("the answer has no text", may_pass=True)
        return Answer(request.request_id, choice.message.content or "", cast(FinishReason, choice.finish_reason))


def _wait_for(arrived: "queue.SimpleQueue[Answer | Exception]") -> Answer | Exception:
    """Take what comes next; Ctrl-C is seen within a moment, also where a library has set SA_RESTART for it."""
    while True:
        with suppress(queue.Empty):
            return arrived.get(timeout=_POLL_INTERVAL_S)


class _BackgroundTask:
    """A coroutine that runs in a thread with an event loop of its own while the context is open, then is cancelled.

    Args:
        start: Makes the coroutine.
        on_failure: Called in the thread with what the coroutine raises.
    """

    def __init__(self, start: Callable[[], Any], on_failure: Callable[[Exception], None]) -> None:
        self._start, self._on_failure = start, on_failure
        self._loop = asyncio.new_event_loop()
        self._cancelled = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="openai", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._cancelled.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run_until_cancelled())

    async def _run_until_cancelled(self) -> None:
        task = asyncio.ensure_future(self._start())
        cancelled = asyncio.ensure_future(self._cancelled.wait())
        await asyncio.wait([task, cancelled], return_when=asyncio.FIRST_COMPLETED)
        if task.done() and (failure := task.exception()) is not None:
            self._on_failure(failure if isinstance(failure, Exception) else EngineError(repr(failure)))
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # its failure has been handed on
            await task
        await self._cancelled.wait()  # the loop lives as long as the context


def openai_engine(
    name: str, model: AnswerModelConfig, generation: GenerationConfig
) -> AbstractContextManager[AnswerEngine]:
    """Make the engine of an endpoint.

    Raises:
        EngineConfigError: The environment variable that shall hold the key is not set, or the package is missing.
    """
    if importlib.util.find_spec("openai") is None:
        raise EngineConfigError(f"answer model {name!r}: engine openai needs the package: pip install openai")
    key = None
    if model.api_key_variable is not None:
        key = os.environ.get(model.api_key_variable, "").strip()
        if not key:
            raise EngineConfigError(
                f"answer model {name!r}: the environment variable {model.api_key_variable} shall hold the key of "
                f"{model.base_url}, but is not set: export {model.api_key_variable}=..."
            )
    return nullcontext(OpenAIEngine(model, generation.sampling, generation.retries, key))


def retry_delay_s(attempt: int, retry_after_s: float | None, retries: RetryConfig) -> float:
    """Seconds to wait after try number ``attempt``: doubled from try to try, or as long as the endpoint asks if longer.

    Never longer than ``retries.max_delay_s``.
    """
    delay_s = retries.first_delay_s * 2.0 ** min(attempt - 1, 60)  # far beyond any delay, and still a float
    return min(max(delay_s, retry_after_s or 0.0), retries.max_delay_s)


def parse_retry_after(value: str | None) -> float | None:
    """Read the header: seconds or a date (RFC 9110, section 10.2.3); None where it is neither."""
    if value is None:
        return None
    with suppress(ValueError):
        seconds = float(value)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError):
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    return None


def _first_words(what: object) -> str:
    return " ".join(str(what).split())[:300]
