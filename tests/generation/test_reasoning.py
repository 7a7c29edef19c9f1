"""What is left of an answer once its thoughts are removed."""

import pytest

from wsdm_arena.generation.reasoning import strip_reasoning


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" no thoughts \n", " no thoughts \n"),
        ("", ""),
        ("<think>\nHm.\n</think>\n\nForty-two.", "Forty-two."),
        ("Hm, the template opened it.\n</think>\nForty-two.", "Forty-two."),
        ("<think>a<think>b</think>c</think>answer", "answer"),
        ("a<think>b</think>c</think>answer", "answer"),
        ("<think>a</think>first <think>b</think>second", "first second"),
        ("a</think>first <think>b</think> second ", "first  second"),
        ("<think>a</think>not yet</think>answer", "answer"),
        ("<think></think>", ""),
        ("</think>", ""),
        ("<think>cut off", None),
        ("<think>a</think>answer <think>cut off", None),
        ("<think>a<think>b</think>cut off", None),
        ("a thinker's <thinking> and < think >", "a thinker's <thinking> and < think >"),
    ],
)
def test_thoughts_are_removed_and_an_unclosed_block_means_cut_off(text, answer):
    assert strip_reasoning(text) == answer


def test_a_very_long_text_of_many_blocks_is_no_problem():
    assert strip_reasoning("<think>x</think>y" * 100_000) == "y" * 100_000
    assert strip_reasoning("<think>" * 100_000 + "</think>" * 100_000 + "end") == "end"
