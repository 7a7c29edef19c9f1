from collections import Counter

import pandas as pd
import pytest

from wsdm_arena.config import GenerationConfig, SimulationConfig
from wsdm_arena.config.generation import AnswerModelConfig
from wsdm_arena.generation.engine import Answer, AnswerRequest, EngineConfigError, EngineFactory, request_seed
from wsdm_arena.simulation.answer_engine import ENDING_WEIGHTS, simulator_engine
from wsdm_arena.simulation.known_prompts import KnownPrompt, tabulate_prompts
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.models import ROSTERS, draw_models
from wsdm_arena.simulation.tasks import Task

ENGLISH = PHRASEBOOKS[0]
SIMULATION = SimulationConfig(seed=3)
GENERATION = GenerationConfig()
SUM = KnownPrompt("What is 7 plus 5?", Task("sum", numbers=(7, 5)), ENGLISH)
HARMFUL = KnownPrompt("Tell me about tea. It is for a crime.", Task("harmful", topics=(0,)), ENGLISH)
BEST = max(draw_models("runs", SIMULATION.seed), key=lambda model: model.skill)
WORST = min(draw_models("runs", SIMULATION.seed), key=lambda model: model.skill)


@pytest.fixture(scope="module")
def factory() -> EngineFactory:
    return simulator_engine(tabulate_prompts([SUM, HARMFUL]), SIMULATION)


def requests_for(prompt: str, count: int = 1_000) -> list[AnswerRequest]:
    ids = [f"{prompt}-{index}" for index in range(count)]
    return [AnswerRequest(request_id, prompt, request_seed(0, request_id)) for request_id in ids]


def ask(factory: EngineFactory, requests: list[AnswerRequest], model: str = BEST.name) -> dict[str, Answer]:
    answers: list[Answer] = []
    with factory("anyone", AnswerModelConfig(engine="simulator", model=model), GENERATION) as engine:
        engine.answer(requests, answers.append)
    assert len(answers) == len(requests)
    return {answer.request_id: answer for answer in answers}


def share_right(answers: dict[str, Answer]) -> float:
    return sum("12" in (answer.text or "") for answer in answers.values()) / len(answers)


def test_every_model_of_the_arena_answers_by_its_skill(factory: EngineFactory) -> None:
    requests = requests_for(SUM.text)
    assert BEST.skill > 0.75
    assert WORST.skill < 0.3
    assert share_right(ask(factory, requests)) > 0.7
    assert share_right(ask(factory, requests, WORST.name)) < 0.55
    assert all(len(ask(factory, requests[:3], name)) == 3 for name in ROSTERS["runs"])


def test_an_answer_depends_on_its_request_only(factory: EngineFactory) -> None:
    requests = requests_for(SUM.text, 50)
    answers = ask(factory, requests)
    assert ask(factory, requests[::-1]) == answers
    assert ask(factory, requests[7:8]) == {requests[7].request_id: answers[requests[7].request_id]}
    assert len({answer.text for answer in answers.values()}) > 10


def test_other_seeds_of_the_arena_have_other_skills() -> None:
    requests = requests_for(SUM.text)
    shares = set()
    for seed in (3, 4, 5):
        other = simulator_engine(tabulate_prompts([SUM]), SimulationConfig(seed=seed))
        shares.add(share_right(ask(other, requests, "aster-mini")))
    assert len(shares) == 3


def test_post_processing_has_work(factory: EngineFactory) -> None:
    answers = list(ask(factory, requests_for(SUM.text)).values())
    endings = Counter(answer.finish_reason for answer in answers)
    assert endings == {"stop": 1_000 - endings["length"], "length": pytest.approx(20, abs=12)}
    assert all(answer.text for answer in answers if answer.finish_reason == "length")
    assert sum(answer.text == "" for answer in answers) == pytest.approx(10, abs=9)
    reasoned = [answer.text or "" for answer in answers if (answer.text or "").startswith("<think>\n")]
    assert len(reasoned) == pytest.approx(40, abs=18)
    assert all(text.count("\n</think>\n\n") == 1 and not text.endswith("\n") for text in reasoned)
    assert sum(ENDING_WEIGHTS.values()) == pytest.approx(1)


def test_harmful_requests_are_mostly_refused(factory: EngineFactory) -> None:
    answers = ask(factory, requests_for(HARMFUL.text)).values()
    assert sum(any(refusal in (answer.text or "") for refusal in ENGLISH.refusals) for answer in answers) > 650


@pytest.mark.parametrize("prompt", ["Who are you?", "", "\x00", "<eos>" + SUM.text, "x" * 1_000_000])
def test_an_unknown_prompt_gets_an_answer_beside_the_point(factory: EngineFactory, prompt: str) -> None:
    requests = [AnswerRequest(str(seed), prompt, seed) for seed in range(40)]
    answers = ask(factory, requests).values()
    assert all(answer.error is None and answer.text is not None for answer in answers)
    assert len({answer.text for answer in answers}) > 20
    assert max(len(answer.text or "") for answer in answers) < 1_000


def test_space_around_a_prompt_does_not_matter(factory: EngineFactory) -> None:
    request = AnswerRequest("x", f"  {SUM.text}\n", 5)
    assert ask(factory, [request]) == ask(factory, [AnswerRequest("x", SUM.text, 5)])


def test_a_request_that_cannot_be_answered_fails_alone(factory: EngineFactory) -> None:
    answers = ask(factory, [AnswerRequest("bad", SUM.text, -1), AnswerRequest("good", SUM.text, 1)])
    assert (answers["bad"].text, answers["bad"].finish_reason) == (None, "error")
    assert "ValueError" in (answers["bad"].error or "")
    assert answers["good"].error is None


def test_what_the_receiver_raises_stops_the_engine(factory: EngineFactory) -> None:
    seen = []

    def refuse(answer: Answer) -> None:
        seen.append(answer)
        raise ValueError("disk full")

    with (
        factory("anyone", AnswerModelConfig(engine="simulator", model=BEST.name), GENERATION) as engine,
        pytest.raises(ValueError, match="disk full"),
    ):
        engine.answer(requests_for(SUM.text, 3), refuse)
    assert len(seen) == 1


def test_a_model_that_the_arena_does_not_have_is_refused_by_name(factory: EngineFactory) -> None:
    with pytest.raises(EngineConfigError, match=r"answer_models.fast.model: .* no 'kelp-nano'; it has aster-large, "):
        factory("fast", AnswerModelConfig(engine="simulator", model="kelp-nano"), GENERATION)


@pytest.mark.parametrize("table", [pd.DataFrame(), tabulate_prompts([])], ids=["no columns", "no rows"])
def test_without_simulated_prompts_nothing_starts(table: pd.DataFrame) -> None:
    factory = simulator_engine(table, SIMULATION)  # as harmless as an engine that nobody asks for
    with pytest.raises(EngineConfigError, match="simulate the arena"):
        factory("anyone", AnswerModelConfig(engine="simulator", model=BEST.name), GENERATION)
