import string

import pytest

from wsdm_arena.simulation.languages import PHRASEBOOKS
from wsdm_arena.simulation.phrasebook import Phrasebook

ENGLISH = PHRASEBOOKS[0]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_twelve_languages_of_which_half_are_not_written_in_latin_letters() -> None:
    assert len(PHRASEBOOKS) == 12
    non_latin = [book.code for book in PHRASEBOOKS if not any("a" <= letter <= "z" for letter in "".join(book.topics))]
    assert non_latin == ["ru", "zh", "ja", "ko", "ar", "hi"]


def test_weights_are_shares_and_english_is_half() -> None:
    assert sum(book.weight for book in PHRASEBOOKS) == pytest.approx(1)
    assert ENGLISH.name == "English"
    assert ENGLISH.weight == 0.5


@pytest.mark.parametrize("book", PHRASEBOOKS, ids=lambda book: book.code)
def test_every_language_can_say_the_same(book: Phrasebook) -> None:
    for field in ("topics", "qualities", "opposites", "statements", "results", "refusals", "openers", "closers"):
        assert len(getattr(book, field)) == len(getattr(ENGLISH, field)), field
    for field in ("greetings", "reasons", "harms"):
        assert len(getattr(book, field)) == len(getattr(ENGLISH, field)), field
    assert {kind: len(texts) for kind, texts in book.prompts.items()} == {
        kind: len(texts) for kind, texts in ENGLISH.prompts.items()
    }
    assert len(set(book.topics)) == len(book.topics)
    assert len(set(book.opposites)) == len(book.opposites)


@pytest.mark.parametrize("book", PHRASEBOOKS, ids=lambda book: book.code)
def test_every_sentence_has_its_placeholders(book: Phrasebook) -> None:
    for kind, phrasings in book.prompts.items():
        wanted = {"sum": {"a", "b"}, "larger": {"a", "b"}, "opposite": {"word"}}.get(kind, {"topics"})
        assert all(placeholders(text) == wanted for text in phrasings), kind
    assert all(placeholders(text) == {"topic", "quality"} for text in book.statements)
    assert all(placeholders(text) == {"result"} for text in book.results)
    plain = (*book.refusals, *book.openers, *book.closers, *book.greetings, *book.reasons, *book.harms)
    assert all(placeholders(text) == set() and text for text in plain)


def test_no_two_languages_share_the_point_of_an_answer() -> None:
    sentences = [text for book in PHRASEBOOKS for text in (*book.statements, *book.results, *book.refusals)]
    assert len(set(sentences)) == len(sentences)


def test_topics_are_listed_in_the_language_s_own_way() -> None:
    by_code = {book.code: book for book in PHRASEBOOKS}
    assert by_code["en"].list_topics((0, 2)) == "tea and ice"
    assert by_code["ja"].list_topics((0, 2)) == "「お茶」と「氷」"
    assert by_code["ar"].list_topics((0, 2)) == "«الشاي» و «الجليد»"
