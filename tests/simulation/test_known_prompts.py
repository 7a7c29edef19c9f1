import numpy as np
import pandas as pd
import pytest

from wsdm_arena.simulation.known_prompts import SimulatedPromptError, draw_prompt, parse_prompts, tabulate_prompts


def test_what_is_written_is_read() -> None:
    rng = np.random.default_rng(0)
    prompts = {prompt.text: prompt for prompt in (draw_prompt(rng) for _ in range(500))}
    assert {prompt.task.kind for prompt in prompts.values()} == {"sum", "larger", "opposite", "describe", "harmful"}
    table = tabulate_prompts(prompts.values())
    assert list(table["prompt"]) == list(prompts)
    assert parse_prompts(table) == prompts


def test_a_text_that_occurs_twice_stands_once() -> None:
    first, second = (draw_prompt(np.random.default_rng(seed)) for seed in (0, 1))
    assert list(tabulate_prompts([first, second, first])["prompt"]) == [first.text, second.text]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "juggle"}, "no task of kind 'juggle'"),
        ({"parameters": "{"}, "JSONDecodeError"),
        ({"parameters": "[1]"}, "AttributeError"),
        ({"parameters": '{"people": [1]}'}, "people"),
        ({"language": "Klingon"}, "Klingon"),
        ({"language": None}, "simulate the arena again"),
    ],
)
def test_a_row_that_says_too_little_is_named(changes: dict[str, str | None], message: str) -> None:
    table = tabulate_prompts([draw_prompt(np.random.default_rng(0))]).assign(**changes)
    with pytest.raises(SimulatedPromptError, match=message):
        parse_prompts(table)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SimulatedPromptError, match=r"no column .*'parameters'"):
        parse_prompts(pd.DataFrame({"prompt": ["x"], "task": ["sum"], "language": ["English"]}))
