"""The engines that need no other package of this project."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from wsdm_arena.generation.engine import EngineFactory
from wsdm_arena.generation.openai_engine import openai_engine
from wsdm_arena.generation.vllm_engine import vllm_engine
from wsdm_arena.generation.worker_engine import transformers_engine


def default_engines(*, project_path: Path | None = None, log_folder: Path | None = None) -> Mapping[str, EngineFactory]:
    """Name the engines ``vllm``, ``openai`` and ``transformers``; ``simulator`` is the simulation's.

    Args:
        project_path: Where a relative ``generation.vllm.python`` starts from; None: the current directory.
        log_folder: Where ``<answer model>.log`` keeps what worker processes print; None: it is only shown. A run that
            shares this folder with a killed one waits until the latter's workers have freed their GPUs.
    """
    return {
        "vllm": partial(vllm_engine, project_path=project_path or Path.cwd(), log_folder=log_folder),
        "openai": openai_engine,
        "transformers": partial(transformers_engine, log_folder=log_folder),
    }
