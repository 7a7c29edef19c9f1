"""Answer prompts with vLLM: ``python vllm_worker.py <job.json>``, run by the interpreter that has vLLM.

That interpreter knows neither this package nor its other dependencies, so this file imports the standard library and
vllm only, and runs its neighbour ``user_turns.py``, which asks for no more. The job (see :class:`Job`) names a file of
requests and one that answers are appended to, one JSON object a line; what vLLM prints is not looked at. SIGTERM ends
the worker the way its end does, so that vLLM stops its own processes.
"""

import json
import logging
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

FIRST_BATCH_REQUESTS = 64
TARGET_BATCH_S = 300.0
"""A batch is only recorded as a whole, and its last answers leave the GPU idle: batches of so many seconds lose little
either way."""


@dataclass(frozen=True)
class Job:
    """What a worker is to do.

    Attributes:
        model: Directory or hub name.
        engine: Keyword arguments for whatever loads the model.
        sampling: ``temperature``, ``top_p``, ``max_tokens``; ``stop``, texts that end an answer, where there are any.
        batch_requests: Requests in a batch; None: the worker's choice.
        requests: File to read: ``{"request_id", "prompt", "seed"}`` a line.
        answers: File to append to: ``{"request_id", "text", "finish_reason", "error"}`` a line.
        on_cpu: What takes the place of keyword arguments of ``engine``, or is added, where vLLM is built for CPUs.
    """

    model: str
    engine: dict[str, Any]
    sampling: dict[str, Any]
    batch_requests: int | None
    requests: str
    answers: str
    on_cpu: dict[str, Any] = field(default_factory=dict)


Request = dict[str, Any]
RecordAnswer = Callable[[Request, str | None, str, str | None], None]
"""Takes a request, its text, why that ended (``stop``, ``length`` or ``error``) and what went wrong."""


def run_worker(answer: Callable[[Job, list[Request], RecordAnswer], None]) -> None:
    """Read the job that the command line names and have ``answer`` do it; SIGTERM raises SystemExit meanwhile."""
    signal.signal(signal.SIGTERM, _exit)
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    requests = [json.loads(line) for line in Path(job.requests).read_text(encoding="utf-8").splitlines()]
    with open(job.answers, "a", encoding="utf-8") as file:
        answer(job, requests, lambda *fields: _write(file, *fields))


def _exit(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: the clean-up is not interrupted
    raise SystemExit(128 + number)


def _write(file: TextIO, request: Request, text: str | None, finish_reason: str, error: str | None) -> None:
    fields = {"request_id": request["request_id"], "text": text, "finish_reason": finish_reason, "error": error}
    file.write(json.dumps(fields) + "\n")
    file.flush()


def answer_with_vllm(job: Job, requests: list[Request], record: RecordAnswer) -> None:
    """Load the model once and answer all requests, each as a chat of one turn, batch by batch."""
    try:
        from vllm import SamplingParams
    except ModuleNotFoundError as error:
        if error.name == "vllm":
            raise
        raise RuntimeError(f"vllm cannot be imported: {error}") from error
    except Exception as error:  # a library that does not fit another
        raise RuntimeError(f"vllm cannot be imported: {error}") from error
    llm, refusals = _load(job), _refusals()
    turns = _user_turns(llm.get_tokenizer())
    for batch in _batches(requests, job.batch_requests):
        is_plain = [turns.are_plain(request["prompt"]) for request in batch]
        for plain, ask in ((True, partial(_chat, llm)), (False, partial(_chat_in_tokens, llm, turns))):
            chosen = [request for request, each in zip(batch, is_plain, strict=True) if each is plain]
            parameters = [SamplingParams(**job.sampling, seed=request["seed"]) for request in chosen]
            for request, output in _outputs(ask, chosen, parameters, refusals):
                _record_output(request, output, record)


def _user_turns(tokenizer: Any) -> Any:
    """Make a :class:`wsdm_arena.generation.user_turns.UserTurns` where there may be no such package."""
    return runpy.run_path(str(Path(__file__).with_name("user_turns.py")))["UserTurns"](tokenizer)


def _load(job: Job) -> Any:
    from vllm import LLM
    from vllm.platforms import current_platform

    # It would say of every single weight that it is stored in another type than it is computed with.
    logging.getLogger("vllm.model_executor.models.utils").setLevel(logging.ERROR)
    if not current_platform.is_cpu():
        return LLM(model=job.model, **job.engine)
    if job.engine["tensor_parallel_size"] == 1:
        # One process instead of three: it starts three times sooner, and leaves nothing behind.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    return LLM(model=job.model, **{**job.engine, **job.on_cpu})


def _record_output(request: Request, output: Any, record: RecordAnswer) -> None:
    if isinstance(output, Exception):
        record(request, None, "error", f"vLLM refuses the prompt: {output}")
        return
    completion = output.outputs[0]
    if completion.finish_reason in ("stop", "length"):
        record(request, completion.text, completion.finish_reason, None)
    else:
        record(request, None, "error", f"vLLM ended with finish_reason {completion.finish_reason!r}")


def _batches(requests: list[Request], batch_requests: int | None) -> Iterator[list[Request]]:
    """Cut requests into batches that take about :data:`TARGET_BATCH_S` each, judging by those before."""
    start, size = 0, batch_requests or FIRST_BATCH_REQUESTS
    while start < len(requests):
        began = time.monotonic()
        yield requests[start : start + size]
        took = time.monotonic() - began
        start += size
        if batch_requests is None and took < TARGET_BATCH_S:
            size *= 2
        elif batch_requests is None and took > 2 * TARGET_BATCH_S:
            size = max(size // 2, 1)


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for a prompt that it cannot take (too long, say), and not because it is broken."""
    try:
        from vllm.exceptions import VLLMClientError
    except ImportError:  # older versions
        return (ValueError,)
    return (ValueError, VLLMClientError)


def _chat(llm: Any, batch: list[Request], parameters: list[Any]) -> list[Any]:
    conversations = [[{"role": "user", "content": request["prompt"]}] for request in batch]
    return list(llm.chat(conversations, parameters, use_tqdm=False))


def _chat_in_tokens(llm: Any, turns: Any, batch: list[Request], parameters: list[Any]) -> list[Any]:
    """For prompts that hold the spelling of control tokens, which ``LLM.chat`` would take for the tokens themselves."""
    prompts = [{"prompt_token_ids": turns.chat_ids(request["prompt"])} for request in batch]
    return list(llm.generate(prompts, parameters, use_tqdm=False))


def _outputs(
    ask: Callable[[list[Request], list[Any]], list[Any]],
    batch: list[Request],
    parameters: list[Any],
    refusals: tuple[type[Exception], ...],
) -> Iterable[tuple[Request, Any]]:
    """Pair requests with vLLM's outputs, or with why it refuses the prompt.

    It refuses a whole batch for one such prompt, before it generates; so a refused batch is halved until the prompt
    is alone.
    """
    if not batch:
        return []
    try:
        outputs = ask(batch, parameters)
    except refusals as error:
        if len(batch) == 1:
            return [(batch[0], error)]
        half = len(batch) // 2
        return [
            *_outputs(ask, batch[:half], parameters[:half], refusals),
            *_outputs(ask, batch[half:], parameters[half:], refusals),
        ]
    return zip(batch, outputs, strict=True)


if __name__ == "__main__":
    # Python puts this file's folder first on the path, where a module of the standard library's or a package's name
    # (requests.py) would be taken for it.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    run_worker(answer_with_vllm)
