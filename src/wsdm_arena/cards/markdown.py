"""Markdown that nothing can break: whatever a template writes is escaped, unless it was written as Markdown."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$#!]|(?<![^\W_])_|_(?![^\W_])")
"""What opens code, emphasis, links, HTML, table cells, strikethrough, formulas. Underscores within words do not."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
"""Control characters, ends of lines, and marks that turn the direction of the text around them."""
_FENCE = re.compile("`{3,}")
MAX_NAME_LENGTH = 300
"""Longer names are cut: they come from tables of people's own."""


class Markdown(str):
    """Text that is Markdown already: it is written as it is."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    """Write a text so that Markdown shows it as it is, on one line, in tables too."""
    if isinstance(text, Markdown):
        return text
    line = _UNPRINTABLE.sub(" ", _encodable(str(text)))
    if len(line) > MAX_NAME_LENGTH:
        line = line[: MAX_NAME_LENGTH - 1] + "…"
    return Markdown(_SPECIAL.sub(r"\\\g<0>", line.replace("&", "&amp;")))


def code(text: object) -> Markdown:
    """Write a name in the type of code; what code cannot hold, a backtick or a table's bar, is escaped instead."""
    name = str(text)
    if not name or "`" in name or "|" in name or _UNPRINTABLE.search(name) or len(name) > MAX_NAME_LENGTH:
        return escape(name)
    return Markdown(f"`{_encodable(name)}`")


def fenced(text: str, language: str = "text") -> Markdown:
    """Write a block of code around any text."""
    longest = max((len(run) for run in _FENCE.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    body = _encodable(text).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return Markdown(f"{fence}{language}\n{body}\n{fence}")


def front_matter(values: Mapping[str, Any]) -> Markdown:
    """Write the YAML that a hub reads, with its lines of dashes; values that are None or empty are left out."""
    kept = {name: value for name, value in values.items() if value not in (None, [], {}, "")}
    text = yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, default_flow_style=False, width=10_000)
    return Markdown(f"---\n{text}---")


def count(number: int) -> Markdown:
    """``12,345``."""
    return Markdown(f"{number:,}")


def share(value: float | None, digits: int = 1) -> Markdown:
    """``73.5 %``; a dash for what is not known."""
    return Markdown("–" if value is None else f"{value:.{digits}%}".replace("%", " %"))


def number(value: float | None, digits: int = 3) -> Markdown:
    """``0.512``; a dash for what is not known."""
    return Markdown("–" if value is None else f"{value:.{digits}f}")


def interval(value: Mapping[str, Any]) -> Markdown:
    """``12.3 % (10.1 to 14.5)``, of a share with its interval: ``value``, ``low``, ``high``."""
    low, high = (number(100 * value[bound], 1) for bound in ("low", "high"))
    return Markdown(f"{share(value['value'])} ({low} to {high})")


def link(text: str, url: str) -> Markdown:
    """Write a link; what is no plain web address is left out."""
    parts = urlsplit(url)
    is_web = parts.scheme in ("http", "https") and parts.netloc and not set(url) & set(" <>()[]`|\\\"'\n\r\t")
    return Markdown(f"[{escape(text)}]({url})") if is_web else escape(text)


def counts(values: Mapping[str, int], most: int = 15) -> Markdown:
    """``en 1,022, ru 263 and 3 more (12)``, the most frequent first."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{escape(name)} {count(rows)}" for name, rows in ordered[:most])
    rest = ordered[most:]
    more = f" and {count(len(rest))} more ({count(sum(rows for _, rows in rest))})" if rest else ""
    return Markdown(shown + more or "–")


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in one of the templates that lie beside this module."""
    text = _environment().get_template(template).render(values)
    return _without_spare_lines(text).strip() + "\n"


def _without_spare_lines(text: str) -> str:
    """Leave one empty line of several, but for blocks of code: these are as somebody wrote them."""
    kept: list[str] = []
    fence = ""
    for line in text.split("\n"):
        opening = _FENCE.match(line)
        if fence:
            fence = "" if line == fence else fence
        elif opening:
            fence = opening.group()
        elif not line.strip() and kept and not kept[-1].strip():
            continue
        kept.append(line)
    return "\n".join(kept)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("wsdm_arena.cards", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # that is for HTML: here every expression goes through `escape`
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": code,
        "count": count,
        "counts": counts,
        "fenced": fenced,
        "interval": interval,
        "markdown": Markdown,
        "number": number,
        "share": share,
    }
    environment.globals["link"] = link
    return environment


def _encodable(text: str) -> str:
    """Half surrogate pairs cannot be written as UTF-8."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
