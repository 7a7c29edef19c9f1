"""One code per language, whatever a table calls it."""

from functools import lru_cache
from typing import Any

import langcodes

UNKNOWN_LANGUAGE = "unknown"

_MAX_NAME_CHARACTERS = 64  # the longest name of a language has 30-odd; anything longer is another column's text
_NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx"})  # ISO 639-2: undetermined, several, uncoded, no language
_DEFAULT_MEMBERS = {"cmn": "zh", "arb": "ar"}  # what people mean by the macrolanguage: Mandarin, standard Arabic


def normalize_language(value: Any) -> str:
    """Reduce a language's name, code or tag to its ISO 639 code without script and region.

    Args:
        value: A cell such as ``"English"``, ``"EN"``, ``"eng"``, ``"zh-CN"``, ``"Deutsch"`` or None.

    Returns:
        The two-letter code where there is one, else the three-letter one; ``"unknown"`` where it names no language.

    Example:
        >>> [normalize_language(name) for name in ("English", "eng", "zh_Hans_CN", "Norwegian Bokmål", "xx", None)]
        ['en', 'en', 'zh', 'nb', 'unknown', 'unknown']
    """
    return _normalize(value) if isinstance(value, str) else UNKNOWN_LANGUAGE


@lru_cache(maxsize=4096)
def _normalize(text: str) -> str:
    name = text.strip()
    if not name or not name.isprintable() or len(name) > _MAX_NAME_CHARACTERS:
        return UNKNOWN_LANGUAGE
    tag = name.replace("_", "-")
    if langcodes.tag_is_valid(tag):  # codes first: "id" is Indonesian, though a language of that name exists
        language = langcodes.get(tag).language
    else:
        try:
            language = langcodes.find(name).language
        except LookupError:
            return UNKNOWN_LANGUAGE
    if language is None or len(language) > 3 or language in _NO_LANGUAGE or "qaa" <= language <= "qtz":
        return UNKNOWN_LANGUAGE  # also private-use tags and codes
    return _DEFAULT_MEMBERS.get(language, language)
