"""Answers on disk: one JSON line each, appended as they come, so that a killed run loses none it had."""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wsdm_arena.config.generation import AnswerModelConfig, GenerationConfig
from wsdm_arena.generation.engine import Answer
from wsdm_arena.runs.files import write_atomically
from wsdm_arena.runs.fingerprint import fingerprint
from wsdm_arena.runs.formats import ANSWERS_FORMAT

logger = logging.getLogger(__name__)

_SYNC_INTERVAL_S = 1.0
_SAMPLE_BYTES = 1 << 20
_FINISH_REASONS = ("stop", "length", "error")


class AnswerStore:
    """The answers of one answer model, by request; a file that is only ever appended to.

    What a crash left of a last line is dropped when the file is opened: its request counts as open. So are lines that
    a power cut damaged, with a warning. Only one process may have the file open.

    Attributes:
        path: The file.
        answers: Everything recorded, the newest of each request.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        self._load()
        self._file = path.open("a", encoding="utf-8")
        self._last_sync = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make everything permanent and close the file."""
        try:
            self._sync()
        finally:
            self._file.close()

    def has_answer(self, request_id: str) -> bool:
        """Whether the model has answered; recorded failures do not count."""
        answer = self.answers.get(request_id)
        return answer is not None and answer.finish_reason != "error"

    def append(self, answer: Answer) -> None:
        """Record an answer or a failure; it outlives this process at once, and a power cut after about a second."""
        self._file.write(encode_answer(answer) + "\n")
        self._file.flush()
        self.answers[answer.request_id] = answer
        if time.monotonic() - self._last_sync >= _SYNC_INTERVAL_S:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._last_sync = time.monotonic()

    def _load(self) -> None:
        content = self.path.read_bytes() if self.path.is_file() else b""
        *lines, unfinished = content.split(b"\n")
        decoded = [(line, decode_answer(line)) for line in lines]
        for _, answer in decoded:
            if answer is not None and not (answer.finish_reason == "error" and self.has_answer(answer.request_id)):
                self.answers[answer.request_id] = answer
        intact = [line for line, answer in decoded if answer is not None]
        if len(intact) < len(lines):
            logger.warning("%s: %d damaged lines dropped; they are answered again", self.path, len(lines) - len(intact))
        if unfinished or len(intact) < len(lines):
            write_atomically(self.path, b"".join(line + b"\n" for line in intact))


def encode_answer(answer: Answer) -> str:
    """Write an answer as one line of JSON in ASCII, whatever its text is."""
    return json.dumps(asdict(answer), ensure_ascii=True)


def decode_answer(line: bytes | str) -> Answer | None:
    """Read a line of :func:`encode_answer`; None if it is none."""
    try:
        fields = json.loads(line)
        answer = Answer(fields["request_id"], fields["text"], fields["finish_reason"], fields["error"])
    except (ValueError, KeyError, TypeError):  # UnicodeDecodeError is a ValueError
        return None
    has_failed = answer.finish_reason == "error"
    is_valid = (
        isinstance(answer.request_id, str)
        and answer.finish_reason in _FINISH_REASONS
        and isinstance(answer.error if has_failed else answer.text, str)
    )
    return answer if is_valid else None


def answer_file(folder: Path, name: str, generation: GenerationConfig) -> Path:
    """Name the file of an answer model by everything that changes its answers; see :func:`answer_identity`."""
    return folder / f"{as_file_name(name)}.{fingerprint(answer_identity(name, generation))}.jsonl"


def as_file_name(name: str) -> str:
    """Spell an answer model's name so that a file can have it; two names may become the same."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)[:80]


def answer_identity(name: str, generation: GenerationConfig) -> Mapping[str, Any]:
    """Everything that changes a model's answers, as JSON can hold it.

    Sizes, time-outs, concurrency and the address of an endpoint change none. Weights in a directory are known by their
    contents and not by where they lie.
    """
    model = generation.answer_models[name]
    identity: dict[str, Any] = {
        "format": ANSWERS_FORMAT,
        "name": name,
        "engine": model.engine,
        "model": _model_identity(model),
        "revision": model.revision,
        "max_model_tokens": model.max_model_tokens,
        "sampling": generation.sampling.model_dump(mode="json"),
        "seed": generation.seed,
    }
    if model.dtype != "auto":  # answers of before there was a choice stay valid
        identity["dtype"] = model.dtype
    if model.stop:
        identity["stop"] = list(model.stop)
    return identity


def _model_identity(model: AnswerModelConfig) -> Any:
    """Name on the hub, or a digest of names, sizes, first and last megabyte of a directory's files.

    Not of every byte: that would read a hundred gigabytes of weights at each start, and training changes every tensor.
    """
    directory = Path(model.model)
    if not model.is_local or not directory.is_dir():
        return model.model
    paths = {path.relative_to(directory): path for path in directory.rglob("*") if path.is_file()}
    visible = {name: path for name, path in paths.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): _sample_digest(path) for name, path in sorted(visible.items())}


def _sample_digest(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(size - _SAMPLE_BYTES, 0))
        digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
