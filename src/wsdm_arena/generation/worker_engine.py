"""Engines that run in worker processes, and the one that runs transformers in ours."""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wsdm_arena.config.generation import AnswerModelConfig, GenerationConfig
from wsdm_arena.generation.answer_reader import AnswerReader
from wsdm_arena.generation.answers import as_file_name
from wsdm_arena.generation.engine import Answer, AnswerEngine, AnswerRequest, EngineConfigError, EngineError
from wsdm_arena.generation.vllm_failure import telling_line
from wsdm_arena.generation.vllm_worker import Job
from wsdm_arena.generation.worker_pool import PoolSpec
from wsdm_arena.processes import ProcessFailed, run_supervised

logger = logging.getLogger(__name__)

_SUPERVISION_MARGIN_S = 10.0  # the pool stops its workers; only then is it killed itself
_TRANSFORMERS_GRACE_S = 5.0

IDLE_THREADS_SLEEP = {"OMP_WAIT_POLICY": "passive"}
"""OpenMP threads that wait for others do not spin meanwhile: beside other processes that is four times faster (vLLM,
SmolLM2-135M, two threads on two busy cores)."""


@dataclass(frozen=True)
class WorkerKind:
    """How the workers of one answer model are started.

    Attributes:
        command: What each is started with, the job file's path aside.
        environments: Variables of each worker; as many as there are workers.
        engine: See :class:`~wsdm_arena.generation.vllm_worker.Job`.
        stop: Texts that end an answer.
        batch_requests: Requests in a batch; None: the worker's choice.
        grace_s: How long a worker may take to stop.
        on_cpu: See :class:`~wsdm_arena.generation.vllm_worker.Job`.
        explain: Finds, in the last lines that failed workers printed, a known cause and its cure.
    """

    command: Sequence[str]
    environments: Sequence[Mapping[str, str]]
    engine: Mapping[str, Any]
    batch_requests: int | None
    grace_s: float
    stop: Sequence[str] = ()
    on_cpu: Mapping[str, Any] = field(default_factory=dict)
    explain: Callable[[Sequence[str]], str | None] = lambda lines: None


class WorkerEngine:
    """Has worker processes answer; each loads the model once, and all are gone when :meth:`answer` returns.

    Args:
        name: Of the answer model, for messages and the log.
        model: Directory or hub name.
        kind: How workers are started.
        generation: For its sampling.
        log_folder: Where what the workers print is kept; None: it is only shown.
    """

    def __init__(
        self, name: str, model: str, kind: WorkerKind, generation: GenerationConfig, log_folder: Path | None
    ) -> None:
        self._name, self._model, self._kind, self._log_folder = name, model, kind, log_folder
        sampling = generation.sampling
        self._sampling = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            **({"stop": list(kind.stop)} if kind.stop else {}),
        }

    def answer(self, requests: Sequence[AnswerRequest], on_answer: Callable[[Answer], None]) -> None:
        """See :class:`~wsdm_arena.generation.engine.AnswerEngine`; call it from the main thread, as signals need it."""
        with tempfile.TemporaryDirectory(prefix="wsdm-arena-workers-") as name:
            folder = Path(name)
            jobs = self._write_jobs(folder, requests)
            stop_file = folder / "stop"
            pool = self._write_pool(folder, jobs, stop_file)
            reader = AnswerReader([Path(job.answers) for job in jobs], on_answer, on_failure=stop_file.touch)
            failure = self._supervise(pool, reader)
        if reader.failure is not None:
            raise reader.failure
        if failure is not None:
            raise failure

    def _supervise(self, pool: Path, reader: AnswerReader) -> EngineError | None:
        log_path = None
        if self._log_folder is not None:
            self._log_folder.mkdir(parents=True, exist_ok=True)
            log_path = self._log_folder / f"{as_file_name(self._name)}.log"
        command = [sys.executable, "-m", "wsdm_arena.generation.worker_pool", str(pool)]
        with reader:
            try:
                run_supervised(command, grace_s=self._kind.grace_s + _SUPERVISION_MARGIN_S, log_path=log_path)
            except ProcessFailed as error:
                said = error.last_lines
                cause = self._kind.explain(said) or telling_line(said)
                return EngineError(f"worker processes failed: {cause}\n{error}")
        return None

    def _write_jobs(self, folder: Path, requests: Sequence[AnswerRequest]) -> list[Job]:
        """Deal requests out to the workers, no more than there are requests."""
        num_workers = min(len(self._kind.environments), len(requests))
        jobs = []
        for rank in range(num_workers):
            share = folder / f"requests-{rank}.jsonl"
            share.write_text("".join(f"{json.dumps(asdict(request))}\n" for request in requests[rank::num_workers]))
            jobs.append(
                Job(
                    model=self._model,
                    engine=dict(self._kind.engine),
                    on_cpu=dict(self._kind.on_cpu),
                    sampling=self._sampling,
                    batch_requests=self._kind.batch_requests,
                    requests=str(share),
                    answers=str(folder / f"answers-{rank}.jsonl"),
                )
            )
        return jobs

    def _write_pool(self, folder: Path, jobs: Sequence[Job], stop_file: Path) -> Path:
        commands = []
        for rank, job in enumerate(jobs):
            job_file = folder / f"job-{rank}.json"
            job_file.write_text(json.dumps(asdict(job)))
            commands.append([*self._kind.command, str(job_file)])
        spec = PoolSpec(
            commands=commands,
            environments=[dict(environment) for environment in self._kind.environments[: len(jobs)]],
            grace_s=self._kind.grace_s,
            stop_file=str(stop_file),
            locked_directory=str(self._log_folder) if self._log_folder else None,
        )
        path = folder / "pool.json"
        path.write_text(json.dumps(asdict(spec)))
        return path


def transformers_engine(
    name: str, model: AnswerModelConfig, generation: GenerationConfig, *, log_folder: Path | None = None
) -> AbstractContextManager[AnswerEngine]:
    """Make an engine of one worker that runs transformers' ``generate`` with batches of ``max_concurrency`` prompts.

    Raises:
        EngineConfigError: It shall run in parallel, which only vLLM does.
    """
    if model.tensor_parallel_size > 1 or model.data_parallel_size > 1:
        raise EngineConfigError(
            f"answer model {name!r}: engine transformers runs on one device; set tensor_parallel_size and "
            "data_parallel_size to 1, or engine to vllm"
        )
    kind = WorkerKind(
        command=[sys.executable, "-m", "wsdm_arena.generation.transformers_worker"],
        environments=[IDLE_THREADS_SLEEP if "OMP_WAIT_POLICY" not in os.environ else {}],
        engine={
            "revision": model.revision,
            "trust_remote_code": model.trust_remote_code,
            "max_model_len": model.max_model_tokens,
            "dtype": model.dtype,
        },
        stop=model.stop,
        batch_requests=model.max_concurrency,
        grace_s=_TRANSFORMERS_GRACE_S,
    )
    return nullcontext(WorkerEngine(name, model.model, kind, generation, log_folder))
