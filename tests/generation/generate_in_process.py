"""A run of its own, to be killed: ``<stub vllm or slow> <folder> <number of prompts>``."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from tests.generation.generation_cases import make_config, make_requests
from wsdm_arena.generation.engine import Answer, AnswerRequest
from wsdm_arena.generation.engines import default_engines
from wsdm_arena.generation.generate import generate_answers


class SlowEngine:
    """Takes a while for each answer and notes it where a kill cannot reach."""

    def answer(self, requests: Sequence[AnswerRequest], on_answer: Callable[[Answer], None]) -> None:
        for request in requests:
            line = json.dumps({"kind": "answer", "prompt": request.prompt, "pid": os.getpid()}) + "\n"
            with open(os.environ["STUB_LOG"], "a") as file:
                file.write(line)
            time.sleep(float(os.environ["STUB_SECONDS"]))
            on_answer(Answer(request.request_id, f"{request.prompt} -> {request.seed}", "stop"))


if __name__ == "__main__":
    kind, folder, num_prompts = sys.argv[1:]
    models = {name: {"engine": "vllm", "model": f"org/{name}"} for name in ("first", "second")}
    config = make_config(models, vllm={"python": sys.executable, "stop_grace_s": 5})
    slow = {"vllm": lambda name, model, generation: nullcontext(SlowEngine())}
    table = generate_answers(
        make_requests(int(num_prompts), list(models)),
        config,
        folder=Path(folder),
        engines=slow if kind == "slow" else default_engines(log_folder=Path(folder) / "logs"),
    )
    table.to_parquet(Path(folder) / "table.parquet")
