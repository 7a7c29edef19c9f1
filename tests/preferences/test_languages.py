import pytest

from wsdm_arena.preferences.languages import normalize_language


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(
            (name, "en")
            for name in ("English", "english", " ENGLISH ", "en", "EN", "eng", "en-US", "en_GB", "Englisch")
        ),
        *((name, "zh") for name in ("Chinese", "zh", "zh-CN", "zh_Hans_CN", "zho", "cmn", "Mandarin", "中文")),
        ("Norwegian Bokmål", "nb"),
        ("Indonesian", "id"),
        ("id", "id"),  # also the name of another language
        ("Hebrew", "he"),
        ("iw", "he"),  # the code before 1989
        ("Japanese", "ja"),
        ("Русский", "ru"),
        ("Cebuano", "ceb"),
    ],
)
def test_names_codes_and_tags_become_one_code(name, code):
    assert normalize_language(name) == code


@pytest.mark.parametrize(
    "cell",
    ["", "  ", "unknown", "xx", "und", "zxx", "qaa", "x-private", "gibberish", "123", "\x00", "English\x00", "\ud800",
     "en" * 100_000, None, float("nan"), 3, ["en"], b"en"],
)  # fmt: skip
def test_what_names_no_language_is_unknown(cell):
    assert normalize_language(cell) == "unknown"
