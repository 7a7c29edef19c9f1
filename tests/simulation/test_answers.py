import numpy as np
import pytest

from wsdm_arena.simulation.answers import possible_flaws, write_answer
from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.phrasebook import Phrasebook
from wsdm_arena.simulation.tasks import Task, draw_task, word_prompt

SUM = Task("sum", numbers=(7, 12))
LARGER = Task("larger", numbers=(34, 71))
OPPOSITE = Task("opposite", words=(3,))
DESCRIBE = Task("describe", topics=(0, 11))
HARMFUL = Task("harmful", topics=(0,))
WITH_RESULT = (SUM, LARGER, OPPOSITE)
ENGLISH = PHRASEBOOKS[0]


def answers(task: Task, flaw: str, book: Phrasebook = ENGLISH, count: int = 40) -> list[str]:
    rng = np.random.default_rng(0)
    return [write_answer(rng, task, book, flaw) for _ in range(count)]


def shown_result(task: Task, book: Phrasebook) -> str:
    return str(task.result) if task.numbers else book.opposites[task.result]


def test_results_are_right() -> None:
    assert [task.result for task in WITH_RESULT] == [19, 71, 2]
    with pytest.raises(ValueError, match="'describe' has no result"):
        _ = DESCRIBE.result


@pytest.mark.parametrize("book", PHRASEBOOKS, ids=lambda book: book.code)
@pytest.mark.parametrize("task", WITH_RESULT, ids=lambda task: task.kind)
def test_sound_answers_hold_the_result_and_wrong_ones_do_not(task: Task, book: Phrasebook) -> None:
    results = [template.split("{result}") for template in book.results]

    def states(text: str, result: str) -> bool:
        return any(before + book.quote.format(result) + after in text for before, after in results) or any(
            before + result + after in text for before, after in results
        )

    assert all(states(text, shown_result(task, book)) for text in answers(task, "none", book))
    assert not any(states(text, shown_result(task, book)) for text in answers(task, "wrong_result", book))


def test_off_topic_answers_share_no_topic_with_the_prompt() -> None:
    texts = answers(DESCRIBE, "off_topic")
    assert not any(ENGLISH.topics[topic] in text.split() for text in texts for topic in DESCRIBE.topics)
    assert not any(any(letter.isdigit() for letter in text) for text in answers(SUM, "off_topic"))
    assert any(any(letter.isdigit() for letter in text) for text in texts)  # they vary
    assert not any(word in text.split() for text in answers(OPPOSITE, "off_topic") for word in ENGLISH.opposites)


@pytest.mark.parametrize("book", PHRASEBOOKS, ids=lambda book: book.code)
def test_answers_in_the_wrong_language_are_in_another_one_and_otherwise_sound(book: Phrasebook) -> None:
    def speaks(text: str, other: Phrasebook) -> bool:
        return any(template.split("{result}")[0] + "19" in text for template in other.results)

    texts = answers(SUM, "wrong_language", book)
    assert not any(speaks(text, book) for text in texts)
    assert all(any(speaks(text, other) for other in PHRASEBOOKS if other is not book) for text in texts)


def test_cut_off_answers_stop_within_a_sentence() -> None:
    for book in PHRASEBOOKS:
        texts = answers(DESCRIBE, "cut_off", book) + answers(LARGER, "cut_off", book)
        assert not any(text.endswith((".", "!", "?", "。", "！", "？", "।", "؟")) for text in texts)
        assert all(text for text in texts)
    assert all(text.endswith((".", "!")) for text in answers(DESCRIBE, "none"))


def test_a_refusal_is_right_where_the_request_is_harmful_and_wrong_elsewhere() -> None:
    def refuses(text: str) -> bool:
        return any(refusal in text for refusal in ENGLISH.refusals)

    assert all(refuses(text) for text in answers(HARMFUL, "none"))
    assert all(refuses(text) for text in answers(DESCRIBE, "refusal"))
    assert not any(refuses(text) for text in answers(HARMFUL, "compliance"))
    assert all("tea" in text for text in answers(HARMFUL, "compliance"))


def test_needless_length_adds_sentences_without_a_point() -> None:
    count = [sum(text.count(closer) for closer in ENGLISH.closers) for text in answers(SUM, "needless_length")]
    assert set(count) == {3, 4, 5}
    count = [sum(text.count(closer) for closer in ENGLISH.closers) for text in answers(SUM, "none")]
    assert set(count) == {0, 1, 2}


def test_a_flaw_that_the_task_does_not_allow_is_refused_by_name() -> None:
    assert "wrong_result" not in possible_flaws(DESCRIBE)
    with pytest.raises(ValueError, match="kind 'describe' cannot have the flaw 'wrong_result'"):
        write_answer(np.random.default_rng(0), DESCRIBE, ENGLISH, "wrong_result")


def test_prompts_name_what_they_ask_about_and_vary() -> None:
    rng = np.random.default_rng(0)
    prompts = {word_prompt(rng, LARGER, ENGLISH) for _ in range(100)}
    assert all("34" in prompt and "71" in prompt for prompt in prompts)
    assert len(prompts) > 10


def test_harmful_prompts_say_so() -> None:
    rng = np.random.default_rng(0)
    for book in PHRASEBOOKS:
        prompts = [word_prompt(rng, HARMFUL, book) for _ in range(10)]
        assert all(prompt.endswith(book.harms) for prompt in prompts)
        assert not word_prompt(rng, DESCRIBE, book).endswith(book.harms)


def test_drawn_tasks_are_never_ambiguous() -> None:
    rng = np.random.default_rng(0)
    tasks = [draw_task(rng) for _ in range(2000)]
    assert {task.kind for task in tasks} == {"describe", "harmful", *(task.kind for task in WITH_RESULT)}
    assert all(len(set(task.topics)) == len(task.topics) for task in tasks)
    assert all(task.numbers[0] != task.numbers[1] for task in tasks if task.kind == "larger")
