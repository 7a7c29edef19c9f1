"""Have every answer model answer its requests, once, and keep every answer whatever ends the run."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd

from wsdm_arena.config.generation import GenerationConfig
from wsdm_arena.errors import UserError
from wsdm_arena.generation.answers import AnswerStore, answer_file
from wsdm_arena.generation.engine import (
    Answer,
    AnswerEngine,
    AnswerRequest,
    EngineConfigError,
    EngineError,
    EngineFactory,
    request_seed,
)
from wsdm_arena.generation.hub_cache import remove_from_hub_cache
from wsdm_arena.preferences.row_report import RowReport
from wsdm_arena.preferences.texts import clean_texts
from wsdm_arena.processes.lock import lock_directory
from wsdm_arena.runs.work import record_work

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of requests that are done, in earlier runs too, and of all requests."""

ANSWER_COLUMNS = ("request_id", "text", "finish_reason", "error")

_LOCK_WAIT_S = 5.0  # a killed run's lock is free at once
_MAX_REASON_CHARACTERS = 300


class GenerationError(UserError, RuntimeError):
    """Requests that cannot be answered as they are, or that nobody answered."""


def generate_answers(
    requests: pd.DataFrame,
    generation: GenerationConfig,
    *,
    folder: Path,
    engines: Mapping[str, EngineFactory],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Answer all requests that ``folder`` does not hold answers of.

    Each answer model is loaded once for its requests of all rounds, one model after the other in the order of the
    configuration. Answers are recorded as they come: a run that was killed goes on where it was, and requests whose
    failure was recorded are tried again. A model that fails costs its own requests only; what is missing at the end is
    logged. Call it from the main thread, as worker processes need it.

    Args:
        requests: Columns ``request_id`` (unique, and for the same prompt and model in every run), ``prompt``,
            ``answer_model``; others are not looked at.
        generation: Answer models, sampling, seed.
        folder: Keeps the answers, one file an answer model and whatever changes its answers; made if missing.
        engines: Factories by the name of an answer model's ``engine``.
        progress: Told how far the work is; by default nothing is shown.

    Returns:
        One row a request in the order of ``requests``: ``request_id, text, finish_reason, error``. Text is null where
        ``finish_reason`` is ``error``, and ``error`` elsewhere.

    Raises:
        GenerationError: Columns, ids, models or engines do not go together; or not one request has an answer.
        EngineConfigError: An engine cannot work as configured; nothing has been sent to any.
        DirectoryInUseError: Another run is using ``folder``.
    """
    _check(requests, generation, engines)
    folder.mkdir(parents=True, exist_ok=True)
    prompts = clean_texts(requests["prompt"], RowReport(requests))
    wanted = requests[["request_id", "answer_model"]].assign(prompt=[prompt or "" for prompt in prompts])
    answers: dict[str, Answer] = {}
    with lock_directory(folder, wait_s=_LOCK_WAIT_S):
        contexts = _make_engines(wanted, generation, folder, engines)
        counter = _ProgressCounter(len(wanted), progress)
        for name in generation.answer_models:
            rows = wanted[wanted["answer_model"] == name]
            if not rows.empty:
                answers |= _answer_model(name, rows, generation, folder, contexts.get(name), counter)
    table = _to_table(wanted, answers)
    _report_missing(wanted, table)
    is_complete = not (table["finish_reason"] == "error").any()
    had_all = not contexts
    record_work("answers", folder.name, "reused" if had_all else "made" if is_complete else "incomplete", folder)
    return table


def _check(requests: pd.DataFrame, generation: GenerationConfig, engines: Mapping[str, EngineFactory]) -> None:
    if missing := sorted({"request_id", "prompt", "answer_model"} - set(requests.columns)):
        raise GenerationError(f"requests lack the columns {missing}; found: {list(requests.columns)}")
    repeated = requests.loc[requests["request_id"].duplicated(), "request_id"]
    if not repeated.empty:
        raise GenerationError(f"{len(repeated)} request_ids stand there more than once, such as {repeated.iloc[0]!r}")
    names = set(requests["answer_model"])
    if unknown := sorted(names - set(generation.answer_models)):
        raise GenerationError(
            f"answer models {unknown} are not described under generation.answer_models; "
            f"known: {sorted(generation.answer_models)}"
        )
    for name in sorted(names):
        if (engine := generation.answer_models[name].engine) not in engines:
            raise GenerationError(f"answer model {name!r}: engine {engine!r} is not available here: {sorted(engines)}")


def _make_engines(
    wanted: pd.DataFrame, generation: GenerationConfig, folder: Path, engines: Mapping[str, EngineFactory]
) -> dict[str, AbstractContextManager[AnswerEngine]]:
    """Make the engines of all models with open requests, so that one that cannot work stops the run at its start."""
    contexts = {}
    for name, rows in wanted.groupby("answer_model"):
        with AnswerStore(answer_file(folder, str(name), generation)) as store:
            is_complete = all(store.has_answer(request_id) for request_id in rows["request_id"])
        if not is_complete:
            model = generation.answer_models[str(name)]
            contexts[str(name)] = engines[model.engine](str(name), model, generation)
    return contexts


def _answer_model(
    name: str,
    rows: pd.DataFrame,
    generation: GenerationConfig,
    folder: Path,
    context: AbstractContextManager[AnswerEngine] | None,
    counter: "_ProgressCounter",
) -> dict[str, Answer]:
    """Bring one model's answers up to date; those of the rows, by request."""
    requests = [
        AnswerRequest(request_id, prompt, request_seed(generation.seed, request_id))
        for request_id, prompt in zip(rows["request_id"], rows["prompt"], strict=True)
    ]
    with AnswerStore(answer_file(folder, name, generation)) as store:
        open_requests = [request for request in requests if not store.has_answer(request.request_id)]
        counter.add(len(requests) - len(open_requests))
        if open_requests and context is not None:
            logger.info("%s: %d prompts, %d answered before", name, len(rows), len(rows) - len(open_requests))
            recorder = _Recorder(store, open_requests, counter)
            recorder.fail_open(_run_engine(name, context, open_requests, recorder))
        is_complete = all(store.has_answer(request.request_id) for request in requests)
        answers = {request.request_id: store.answers[request.request_id] for request in requests}
    model = generation.answer_models[name]
    if is_complete and model.remove_weights and model.is_local:
        remove_from_hub_cache(model.model, model.revision)
    return answers


def _run_engine(
    name: str,
    context: AbstractContextManager[AnswerEngine],
    requests: Sequence[AnswerRequest],
    recorder: "_Recorder",
) -> str:
    """Let the engine answer.

    Returns:
        Why requests that are still open have no answer.
    """
    try:
        with context as engine:
            engine.answer(requests, recorder)
    except Exception as error:  # whatever an engine dies of, the other models go on
        if recorder.failure is not None:  # ours: a full disk, say
            raise recorder.failure from None
        known = isinstance(error, EngineError | EngineConfigError)
        logger.error("%s failed; the run goes on without it: %s", name, error, exc_info=None if known else error)
        reason = str(error).partition("\n")[0][:_MAX_REASON_CHARACTERS]
        return reason if known else f"{type(error).__name__}: {reason}"
    return "the engine ended without answering"


class _ProgressCounter:
    """Counts requests that are done, over all models."""

    def __init__(self, num_all: int, progress: Progress | None) -> None:
        self._num_all, self._progress, self._num_done = num_all, progress, 0

    def add(self, num_done: int) -> None:
        self._num_done += num_done
        if self._progress is not None:
            self._progress(self._num_done, self._num_all)


class _Recorder:
    """Takes what an engine hands over and stores it: only what was asked for, and once.

    Attributes:
        failure: What went wrong here, and not in the engine.
    """

    def __init__(self, store: AnswerStore, requests: Sequence[AnswerRequest], counter: _ProgressCounter) -> None:
        self.failure: Exception | None = None
        self._store, self._counter = store, counter
        self._open = {request.request_id: None for request in requests}  # keeps their order

    def __call__(self, answer: Answer) -> None:
        if answer.request_id not in self._open:
            logger.warning("An answer to %r was not asked for, or came twice: ignored", answer.request_id)
            return
        try:
            self._store.append(answer)
            del self._open[answer.request_id]
            self._counter.add(1)
        except Exception as error:
            self.failure = error
            raise

    def fail_open(self, reason: str) -> None:
        """Record that the requests without an answer failed."""
        for request_id in list(self._open):
            self(Answer(request_id, None, "error", reason))


def _to_table(wanted: pd.DataFrame, answers: Mapping[str, Answer]) -> pd.DataFrame:
    rows = [answers[request_id] for request_id in wanted["request_id"]]
    columns = {name: pd.Series([getattr(row, name) for row in rows], dtype=object) for name in ANSWER_COLUMNS}
    table = pd.DataFrame(columns)
    report = RowReport(table)
    for name in ("text", "error"):  # a model may write half surrogate pairs, which no table can hold
        table[name] = clean_texts(table[name].rename(name), report)
    return table.astype("str")


def _report_missing(wanted: pd.DataFrame, table: pd.DataFrame) -> None:
    """Say which answers are missing and why.

    Raises:
        GenerationError: All are.
    """
    failed = (table["finish_reason"] == "error").to_numpy()
    if not failed.any():
        return
    reasons = Counter(zip(wanted["answer_model"][failed], table["error"][failed], strict=True))
    lines = [f"  {model}: {count} ({reason})" for (model, reason), count in reasons.most_common()]
    summary = f"{failed.sum()} of {len(table)} answers are missing:\n" + "\n".join(lines[:50])
    if failed.all():
        raise GenerationError(f"{summary}\nThe next run tries them again.")
    logger.warning("%s\nThe next run tries them again.", summary)
