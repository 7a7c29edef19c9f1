"""Whether answer models can be asked at all: keys of endpoints, and the interpreter that runs vLLM."""

import os
from collections.abc import Collection
from pathlib import Path

from wsdm_arena.config import GenerationConfig


def describe_unavailable(generation: GenerationConfig, names: Collection[str], project: Path) -> list[str]:
    """Say what some answer models lack on this machine, one line each with its cure; nothing is started.

    Args:
        generation: With all answer models.
        names: Those that are asked.
        project: Where a relative interpreter starts from.
    """
    models = {name: generation.answer_models[name] for name in names}
    lines = [
        f"generation.answer_models.{name}: environment variable {variable} is not set; export the endpoint's key, or "
        "leave the model out of generation.rounds"
        for name, model in models.items()
        if (variable := model.api_key_variable) and variable not in os.environ
    ]
    python = generation.vllm.python
    if any(model.engine == "vllm" for model in models.values()) and not (project / python).exists():
        lines.append(
            f"generation.vllm.python: {python} is not there; vLLM needs an environment of its own: make one and "
            "install vllm into it, or name the interpreter of one that is there"
        )
    return lines
