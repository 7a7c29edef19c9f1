"""Requests, configurations and engines that several tests share."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from wsdm_arena.config import GenerationConfig
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineFactory

FOLDER = Path(__file__).parent
STUB_VLLM = FOLDER / "stub_vllm"


def make_config(models: Mapping[str, Mapping[str, Any]], **fields: Any) -> GenerationConfig:
    return GenerationConfig.model_validate({"answer_models": models, **fields})


def make_requests(num_prompts: int, models: Sequence[str], rounds: Sequence[str] = ("v1", "v2")) -> pd.DataFrame:
    """Every prompt of every round is answered by two of the models, in turn."""
    rows = []
    for round_ in rounds:
        for number in range(num_prompts):
            for slot in range(2):
                model = models[(number + slot) % len(models)]
                prompt = f"prompt {number} of {round_}"
                rows.append((f"{round_}-{number}-{slot}", round_, f"{number:032x}", prompt, "English", slot, model))
    columns = ["request_id", "round", "prompt_group", "prompt", "language", "slot", "answer_model"]
    return pd.DataFrame(rows, columns=columns)


class FakeEngine:
    """Answers with prompt and seed; notes what it is asked; fails as it is told."""

    def __init__(self, name: str, script: Callable[[AnswerRequest], Answer] | None = None) -> None:
        self.name = name
        self.script = script or (lambda request: Answer(request.request_id, f"{request.prompt}|{request.seed}", "stop"))
        self.calls: list[list[str]] = []

    def answer(self, requests: Sequence[AnswerRequest], on_answer: Callable[[Answer], None]) -> None:
        self.calls.append([request.request_id for request in requests])
        for request in requests:
            on_answer(self.script(request))


def fake_factory(engines: Mapping[str, Any]) -> EngineFactory:
    """A factory that hands out these engines by the name of the answer model."""
    return lambda name, model, generation: nullcontext(engines[name])


def use_stub_vllm(environment: Any, log: Path, *, manners: str = "", seconds: float = 0.0) -> None:
    """Have workers find the stub; ``environment`` is a monkeypatch."""
    environment.setenv("PYTHONPATH", str(STUB_VLLM))
    environment.setenv("STUB_LOG", str(log))
    environment.setenv("STUB_MANNERS", manners)
    environment.setenv("STUB_SECONDS", str(seconds))


def stub_vllm_config(**model: Any) -> GenerationConfig:
    models = {"first": {"engine": "vllm", "model": "org/first", **model}}
    return make_config(models, vllm={"python": sys.executable, "stop_grace_s": 5})


def read_log(path: Path, kind: str) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def processes_with(variable: str, value: str) -> list[int]:
    """Living processes, this one aside, whose environment says so."""
    import psutil

    found = []
    for process in psutil.process_iter(["environ", "status"]):
        is_alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if is_alive and process.pid != os.getpid() and (process.info["environ"] or {}).get(variable) == value:
            found.append(process.pid)
    return found
