"""Names that people give can be anything; a card shows them and stays what it is."""

import pytest
import yaml

from wsdm_arena.cards.markdown import (
    MAX_NAME_LENGTH,
    Markdown,
    code,
    counts,
    escape,
    fenced,
    front_matter,
    interval,
    link,
    render,
    share,
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("gemma-2-9b_it", "gemma-2-9b_it"),
        ("a|b", r"a\|b"),
        ("**bold** _it_", r"\*\*bold\*\* \_it\_"),
        ("<script>&amp;", r"\<script\>&amp;amp;"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("a\n\n# b\r\u2028c\0", r"a \# b c "),
        ("`x`", r"\`x\`"),
        ("back\\slash", r"back\\slash"),
        ("\u202egnp.exe", " gnp.exe"),
        ("\ud83d", "?"),
        ("日本語 🙂", "日本語 🙂"),
        (12, "12"),
        (Markdown("**x**"), "**x**"),
    ],
)
def test_text_is_shown_as_it_is(text, written):
    assert escape(text) == written


def test_long_names_are_cut():
    assert len(escape("x" * 1_000_000)) == MAX_NAME_LENGTH


def test_code_holds_names_that_code_can_hold():
    assert code("final.gemma") == "`final.gemma`"
    assert code("a`b") == r"a\`b"
    assert code("a|b") == r"a\|b"
    assert code("a\nb") == "a b"
    assert code("") == ""


def test_a_block_of_code_ends_where_it_ends():
    assert fenced("x") == "```text\nx\n```"
    assert fenced("```\nout?\n````") == "`````text\n```\nout?\n````\n`````"
    assert fenced("\ud83da\0\r\nb") == "```text\n?a\ufffd\nb\n```"


def test_front_matter_is_yaml_of_the_same_values():
    values = {"name": "--- \n# x: [\u2028\x07", "list": ["no", "日本", "a: b"], "left_out": None, "empty": []}
    text = front_matter(values)
    first, *body, last = text.split("\n")
    assert (first, last) == ("---", "---")
    assert "---" not in body
    assert yaml.safe_load("\n".join(body)) == {"name": values["name"], "list": values["list"]}


def test_links_lead_to_the_web_or_nowhere():
    assert link("a]b", "https://example.org/x") == r"[a\]b](https://example.org/x)"
    for url in ("javascript:alert(1)", "https://x.org/a)b", "", "file:///etc/passwd", "https://x.org/a b"):
        assert link("name", url) == "name"


def test_numbers_are_for_people():
    assert share(0.7349) == "73.5 %"
    assert share(None) == "–"
    assert interval({"value": 0.5, "low": 0.25, "high": 0.755}) == "50.0 % (25.0 to 75.5)"
    assert counts({"b|": 2, "a": 2, "c": 1000}, most=2) == "c 1,000, a 2 and 1 more (2)"
    assert counts({}) == "–"


def test_templates_need_all_their_values():
    with pytest.raises(Exception, match="undefined"):
        render("model_card.md.j2", {})
