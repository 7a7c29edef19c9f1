"""Whether answer models can be asked at all: keys of endpoints, and the interpreter that runs vLLM."""

import os
from collections.abc import Collection
from pathlib import Path

from wsdm_arena.config import GenerationConfig, package_of
from wsdm_arena.generation.vllm_environment import describe_environment

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "tekken.json")
"""A model's directory has one of these, or more."""


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
    local = {name: model for name, model in models.items() if model.is_local}
    lines += filter(None, (_describe_directory(name, model.model, project) for name, model in local.items()))
    if any(model.engine == "vllm" for model in models.values()):
        lines += filter(None, [describe_environment(generation.vllm.python, project)])
    return lines


def _describe_directory(name: str, source: str, project: Path) -> str | None:
    """What a model's directory lacks; None for names of the hub and for packages."""
    if package_of(source) is not None or not source.startswith(("/", "./", "../", "~")):
        return None
    directory = project / Path(source).expanduser()
    key = f"generation.answer_models.{name}.model: {source}"
    if not directory.is_dir():
        return f"{key} is no directory; name one that holds a model, or one of the Hugging Face Hub"
    files = {"config.json": ("config.json",), "tokenizer": _TOKENIZER_FILES}
    lacking = [what for what, names in files.items() if not any((directory / file).is_file() for file in names)]
    return f"{key} has no {' and no '.join(lacking)}: it holds no model that could answer" if lacking else None
