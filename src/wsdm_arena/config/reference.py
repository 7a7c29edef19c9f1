"""Write the reference of every parameter: ``python -m wsdm_arena.config.reference > docs/parameters.md``.

Keys, types, defaults and meanings are read off the typed classes, values off the environments' YAML files, so that the
page cannot say anything else than the code. A test compares the page with what this module writes.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wsdm_arena.config.base import WITHOUT_EFFECT, deep_merge
from wsdm_arena.config.fetching import SourcesConfig
from wsdm_arena.config.lineup import STAGES
from wsdm_arena.config.project import ProjectConfig
from wsdm_arena.config.sections import Section, class_within, describe_type, is_training_layer, sections
from wsdm_arena.config.training import TrainingConfig

ENVIRONMENTS = ("base", "sample", "small_llm", "a100")
"""Folders of ``conf/`` whose values are shown, the one that the others are merged into first."""

GLOBALS: Mapping[str, tuple[str, str, str]] = {
    "data_root": ("text", "required", "An environment's own data folder; a relative one starts from `data_home`."),
    "data_home": ("text", "`.`", "Folder that holds the data folders of all environments; fit for `conf/local`."),
    "raw.train": ("text or null", "null", "Files of battles instead of `<data_root>/01_raw/train.parquet`."),
    "raw.test": ("text or null", "null", "Files of pairs to judge instead of `01_raw/test.parquet`."),
    "raw.collected_pairs": ("text or null", "null", "Pairs without votes instead of `01_raw/collected_pairs/`."),
    "raw.conversations": ("text or null", "null", "Conversations to mine instead of `01_raw/conversations/`."),
    "raw.checkpoints": ("text or null", "null", "Folder of checkpoints, a folder a judge, instead of `01_raw/`'s."),
    "raw.sample_submission": ("text or null", "null", "Instead of `01_raw/sample_submission.csv`."),
}
"""Key, type, default and meaning of what ``globals.yml`` holds; its classes stand at the edge to Kedro."""

_MARK = "○"
_LONGEST_VALUE = 60
_LONGEST_CELL = 320
_LAYERS = (
    ("training",),
    ("judges", "<judge>", "training"),
    ("stages", "<stage>", "training"),
    ("stages", "<stage>", "overrides", "<judge>", "training"),
)
"""Where keys of a training may stand, in the order in which they are merged."""
_GLOBALS_OPENING = """## globals.yml

Where data lies. `--params` sets these keys too. Several files of one table are separated by semicolons; folders and
patterns are read too.
"""
_SOURCES_OPENING = """## sources.yml

What `kedro fetch` fetches; see [inputs.md](inputs.md).
"""
_OPENING = f"""# Every parameter

Written by `make docs` from the classes in `src/wsdm_arena/config/` and the files in `conf/`; edit those, not this page.

A value that no file states is the class's default. `conf/base` is the recipe at full size. `conf/sample`, the default
environment, `conf/small_llm` and `conf/a100` are merged into it and state only what they change. `conf/local` is merged
last, then `--params`:

```
kedro run --env a100 --params training.max_battles=2000,launcher.processes_per_node=1
```

A comma ends a value of `--params`, so lists are set in `conf/local/parameters.yml`. An unknown key is an error that
names its path.

* {_MARK} marks a parameter that changes no result but by rounding (`WITHOUT_EFFECT` in the code): work that was done
  with another value of it is not done again. A marked section is marked throughout. `planning` changes nothing at all.
* `<judge>`, `<stage>` and the like stand for names; values are listed by name. An empty cell means that the environment
  does not state the key; a column is left out where it states none of them.
* `training` is a layer: its keys may also stand under `judges.<judge>.training`, `stages.<stage>.training` and
  `stages.<stage>.overrides.<judge>.training`, of which the later wins. What these places state is listed under
  [`training`](#training), by judge, by stage and as `<stage>.<judge>`.
"""


def write_reference(conf: Path) -> str:
    """Write the whole page.

    Args:
        conf: The project's ``conf`` folder.
    """
    parameters = {env: read_environment(conf / env, "parameters") for env in ENVIRONMENTS}
    sources = {env: read_environment(conf / env, "sources") for env in ENVIRONMENTS}
    global_values = {env: read_environment(conf / env, "globals") for env in ENVIRONMENTS}
    tree = list(sections(ProjectConfig))
    parts = [_OPENING, _contents(tree)]
    parts += [_section(section, parameters) for section in tree]
    rows = [(f"`{key}`", *texts, *_values(tuple(key.split(".")), global_values)) for key, texts in GLOBALS.items()]
    parts += [_GLOBALS_OPENING, _table(rows), _SOURCES_OPENING]
    parts += [_section(section, sources, nested=True) for section in sections(SourcesConfig)]
    return "\n".join(parts)


def read_environment(folder: Path, kind: str) -> dict[str, Any]:
    """Merge ``<kind>*.yml`` of a folder; an absent one is empty."""
    files = sorted(folder.glob(f"{kind}*.yml"))
    return deep_merge(*(yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in files))


def _contents(tree: list[Section]) -> str:
    lines = [
        f"* {_link(section.title)}: {_text(section.cls.__doc__ or '').splitlines()[0]}"
        for section in tree
        if len(section.path) == 1
    ]
    outside = ["* [globals.yml](#globalsyml): Where data lies.", "* [sources.yml](#sourcesyml): What is fetched.\n"]
    return "\n".join(["## Sections\n", *lines, *outside])


def _section(section: Section, values: Mapping[str, Mapping[str, Any]], *, nested: bool = False) -> str:
    rows = [_row(section, name, field, values) for name, field in section.cls.model_fields.items()]
    if not section.path:
        return _table(rows) if nested else f"## Top level\n\n{_table(rows)}"
    level = "##" if len(section.path) == 1 and not nested else "###"
    return f"{level} `{section.title}`\n\n{_text(section.cls.__doc__ or '')}\n\n{_table(rows)}"


def _row(section: Section, name: str, field: FieldInfo, values: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    path = (*section.path, name)
    inner = (TrainingConfig, ()) if is_training_layer(field, name) else class_within(field, name)
    marked = section.is_without_effect or WITHOUT_EFFECT in field.metadata
    key = f"`{name}`{' ' + _MARK if marked else ''}"
    if inner is not None:
        title = "training" if is_training_layer(field, name) else ".".join((*path, *inner[1]))
        return (
            key,
            "mapping" if inner[1] else "section",
            "",
            f"{_meaning(field)} See {_link(title)}.",
            *("" for _ in ENVIRONMENTS),
        )
    return key, describe_type(field.annotation), _default(field), _meaning(field), *_values(path, values)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Draw a table; columns of environments that state nothing in it are left out."""
    header = ("key", "type", "default", "meaning", *(f"conf/{env}" for env in ENVIRONMENTS))
    shown = [number for number in range(len(header)) if number < 4 or any(row[number] for row in rows)]
    lines = [[header[number] for number in shown], ["---"] * len(shown)]
    lines += [[row[number] for number in shown] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _meaning(field: FieldInfo) -> str:
    text = _text(field.description or "").replace("\n", " ").replace("|", "\\|")
    text = re.sub(r"; see `\w+Config`", "", text)  # the link that follows says it
    return text.replace("`STAGES`", ", ".join(f"`{stage}`" for stage in STAGES))


def _text(docstring: str) -> str:
    """Turn a docstring into Markdown: literals in single backticks, roles as plain names, one line a paragraph."""
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda match: f"`{match[1].rpartition('.')[2]}`", docstring)
    paragraphs = [" ".join(part.split()) for part in text.replace("``", "`").strip().split("\n\n")]
    return "\n\n".join(paragraphs)


def _link(title: str) -> str:
    """Link to a heading as GitHub names its anchor: lower case, no punctuation, hyphens for spaces."""
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return f"[`{title}`](#{anchor})"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _show(field.get_default(call_default_factory=True))


def _show(value: Any) -> str:
    """A value as YAML would have it, on one line, shortened."""
    if value is None:
        return "null"
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_show(inner)}" for key, inner in value.items()) or "empty"
    if isinstance(value, list | tuple):
        return f"`[{', '.join('null' if inner is None else _show_text(inner) for inner in value)}]`"
    if isinstance(value, float):
        return f"`{re.sub(r'e([+-])0*', lambda sign: 'e' + sign[1].strip('+'), f'{value:.10g}')}`"
    return f"`{_show_text(value)}`"


def _show_text(value: object) -> str:
    """A text or number within a table's cell; in quotation marks where it would be taken for something else."""
    text = str(value).replace("\n", "\\n").replace("|", "\\|")
    if isinstance(value, str) and (not value.strip() or text in ("null", "true", "false")):
        return f'"{text}"'
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _values(path: tuple[str, ...], values: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(_stated(values[env], path) for env in ENVIRONMENTS)


def _stated(tree: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """What a file states at a path, which may go through names of the user's choice; empty where it states nothing."""
    if path[0] == "training":
        found = [each for layer in _LAYERS for each in _find(tree, (*layer, *path[1:]), ())]
    else:
        found = list(_find(tree, path, ()))
    own = [_show(value) for names, value in found if not names]
    by_value: dict[str, list[str]] = {}
    for names, value in found:
        if names:
            by_value.setdefault(_show(value), []).append(".".join(names))
    cell = "<br>".join([*own, *(f"{', '.join(named)}: {value}" for value, named in by_value.items())])
    return cell if len(cell) <= _LONGEST_CELL else f"{len(found)} entries"


def _find(tree: Any, path: tuple[str, ...], names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value at a path, with the names that stand for its placeholders."""
    if not path:
        yield names, tree
    elif isinstance(tree, Mapping):
        chosen = tree if path[0].startswith("<") else [key for key in (path[0],) if key in tree]
        for key in chosen:
            yield from _find(tree[key], path[1:], (*names, str(key)) if path[0].startswith("<") else names)


def main() -> None:
    """Write the page of the project in the working directory to standard output."""
    sys.stdout.write(write_reference(Path("conf")))


if __name__ == "__main__":
    main()
