"""Whether answer models can be asked at all: keys of endpoints, and the interpreter that runs vLLM."""

import os
from collections.abc import Collection
from pathlib import Path

from wsdm_arena.config import GenerationConfig
from wsdm_arena.generation.vllm_environment import describe_environment


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
    if any(model.engine == "vllm" for model in models.values()):
        lines += filter(None, [describe_environment(generation.vllm.python, project)])
    return lines
