"""The simulated models as an answer engine: they answer mined prompts as they answer those of battles."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd

from wsdm_arena.config import GenerationConfig, SimulationConfig
from wsdm_arena.config.generation import AnswerModelConfig
from wsdm_arena.generation.engine import Answer, AnswerEngine, AnswerRequest, EngineConfigError, EngineFactory
from wsdm_arena.simulation.answers import write_answer
from wsdm_arena.simulation.draws import Weighted, pick
from wsdm_arena.simulation.known_prompts import KnownPrompt, SimulatedPromptError, draw_prompt, parse_prompts
from wsdm_arena.simulation.models import SimulatedModel, draw_models

Ending = Literal["whole", "reasoned", "cut_off", "empty"]
ENDING_WEIGHTS: dict[Ending, float] = {"whole": 0.93, "reasoned": 0.04, "cut_off": 0.02, "empty": 0.01}
"""``reasoned`` thinks aloud before it answers, ``cut_off`` runs out of tokens."""

_ENDINGS = Weighted(ENDING_WEIGHTS)


def simulator_engine(simulated_prompts: pd.DataFrame, simulation: SimulationConfig) -> EngineFactory:
    """Return what makes engines of the simulated models; nothing is read until the first one is asked for.

    Skills and weaknesses are those of the models in the arena's tables. An answer depends on model, prompt and the
    request's seed only; ``sampling`` has no influence, as every answer is a few sentences long.

    Args:
        simulated_prompts: ``prompt, task, parameters, language`` as
            :class:`~wsdm_arena.simulation.conversations.SimulatedConversations` has them. A prompt that is not among
            them gets an answer beside the point.
        simulation: Of the arena; only its seed matters.

    Returns:
        A factory that raises :class:`EngineConfigError` if the arena has no model of that name or the table says
        nothing of prompts.
    """
    models = {model.name: model for model in draw_models("runs", simulation.seed)}

    @cache
    def read_prompts() -> dict[str, KnownPrompt]:
        return _read(simulated_prompts)

    def make(name: str, model: AnswerModelConfig, generation: GenerationConfig) -> AbstractContextManager[AnswerEngine]:
        if model.model not in models:
            raise EngineConfigError(
                f"answer_models.{name}.model: the simulated arena has no {model.model!r}; it has {', '.join(models)}"
            )
        return nullcontext(_Simulator(models[model.model], read_prompts()))

    return make


class _Simulator:
    """One simulated model."""

    def __init__(self, model: SimulatedModel, prompts: Mapping[str, KnownPrompt]) -> None:
        self._model = model
        self._prompts = prompts

    def answer(self, requests: Sequence[AnswerRequest], on_answer: Callable[[Answer], None]) -> None:
        """Answer one request after the other; see :class:`~wsdm_arena.generation.engine.AnswerEngine`."""
        for request in requests:
            on_answer(self._try(request))

    def _try(self, request: AnswerRequest) -> Answer:
        try:
            return self._answer(request)
        except (ValueError, TypeError, AttributeError) as error:  # what is wrong with one request costs one answer
            return Answer(request.request_id, None, "error", f"{type(error).__name__}: {error}")

    def _answer(self, request: AnswerRequest) -> Answer:
        rng = np.random.default_rng(request.seed)
        known = self._prompts.get(request.prompt.strip())
        asked = known or _draw_harmless(rng)
        flaw = self._model.draw_flaw(rng, asked.task) if known else "off_topic"
        text = write_answer(rng, asked.task, asked.book, flaw)
        match _ENDINGS.pick(rng):
            case "reasoned":
                text = f"<think>\n{_think(rng, asked)}\n</think>\n\n{text}"
            case "cut_off":
                num_kept = max(1, round(len(text) * rng.uniform(0.2, 0.8)))
                return Answer(request.request_id, text[:num_kept], "length")
            case "empty":
                text = ""
        return Answer(request.request_id, text, "stop")


def _read(simulated_prompts: pd.DataFrame) -> dict[str, KnownPrompt]:
    try:
        prompts = parse_prompts(simulated_prompts)
    except SimulatedPromptError as error:
        raise EngineConfigError(str(error)) from error
    if not prompts:
        raise EngineConfigError("there are no simulated prompts to answer; simulate the arena, conversations included")
    return prompts


def _draw_harmless(rng: np.random.Generator) -> KnownPrompt:
    while (prompt := draw_prompt(rng)).task.kind == "harmful":
        pass
    return prompt


def _think(rng: np.random.Generator, asked: KnownPrompt) -> str:
    """Repeat the question and say what says nothing."""
    book = asked.book
    return book.separator.join([asked.text, pick(rng, book.openers), pick(rng, book.closers)])
