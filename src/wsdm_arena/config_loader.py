"""Configuration in the order base, environment, local, command line; validated as one tree."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException, OmegaConfigLoader
from pydantic import ValidationError

from wsdm_arena.config import ProjectConfig, StrictConfig, deep_merge
from wsdm_arena.config.fetching import SourcesConfig


class RawFiles(StrictConfig):
    """Raw files of one's own: a path, a glob pattern, a directory, or several of them with semicolons between."""

    train: str | None = None
    test: str | None = None
    collected_pairs: str | None = None
    conversations: str | None = None
    checkpoints: str | None = None
    sample_submission: str | None = None


class GlobalsConfig(StrictConfig):
    """``globals.yml``: where data lies. ``--params`` sets these keys too."""

    data_home: str = "."
    """Folder that a relative ``data_root`` starts from; one for all environments, so fit for ``conf/local``."""
    data_root: str
    """An environment's own data folder."""
    raw: RawFiles = RawFiles()


COMPUTED = ("resolved", "readings", "labellers", "sources")
"""Keys that the loaded parameters carry beside those of the tree."""


class ConfigurationError(click.ClickException):
    """A mistake in the user's configuration: one message, no traceback."""


class LocalLastConfigLoader(OmegaConfigLoader):
    """Merges ``conf/local`` last in every environment and checks the parameters as a whole.

    Kedro by itself reads ``local`` only as an environment of its own. The loaded parameters carry four more keys,
    ``resolved.<stage>.<judge>``: the merge of every layer that describes this judge in this stage, which is what
    nodes receive; ``readings.<labels>.<judge>``: how a judge reads the pairs that it labels; ``labellers.<labels>``:
    the backbones of the judges whose opinions these labels are, by judge; and ``sources``: what ``sources.yml`` says
    of inputs and their licences. The last two are for cards.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._read: dict[str, dict[str, Any]] = {}
        super().__init__(*args, **options)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Load one kind of configuration; files are read once in a loader's life.

        Raises:
            ConfigurationError: A key is misspelt or out of range; names its YAML path.
        """
        self._register_globals_resolver()  # it is one for the process, and another loader may have taken it since
        if key in self:
            return super().__getitem__(key)
        if key not in self._read:
            self._read[key] = self._load(key)
        return deepcopy(self._read[key])

    def _load(self, key: str) -> dict[str, Any]:
        config = self._with_local(key)
        on_command_line = {k: v for k, v in (self.runtime_params or {}).items() if k in GlobalsConfig.model_fields}
        if key == "globals":
            return _validate_globals(deep_merge(config, on_command_line), self._env)
        if key == "parameters":
            parameters = {k: v for k, v in config.items() if k not in on_command_line}
            tree = _validate_parameters(parameters, self._env, project=Path(self.conf_source).parent)
            return tree | {"sources": _sources_in_use(self["sources"], self["globals"]["raw"])}
        return _validate_sources(config, self._env) if key == "sources" else config

    @property
    def _env(self) -> str:
        return self.env or self.default_run_env

    def _with_local(self, key: str) -> dict[str, Any]:
        for env in {self.base_env, self._env}:
            if not (Path(self.conf_source) / env).is_dir():
                known = sorted(path.name for path in Path(self.conf_source).iterdir() if path.is_dir())
                raise ConfigurationError(f"there is no environment {env!r} in {self.conf_source}; known: {known}")
        try:
            config: dict[str, Any] | None = super().__getitem__(key)
        except MissingConfigException:
            config = None
        local = Path(self.conf_source) / "local"
        own: dict[str, Any] = {}
        if local.is_dir() and self._env != "local" and key in self.config_patterns:
            own = self.load_and_merge_dir_config(
                str(local), self.config_patterns[key], key, set(), key == "credentials"
            )
        if config is None and not own:
            raise MissingConfigException(f"no {key} configuration in {self.conf_source}")
        return self._merge_configs(config or {}, own, key, str(local)) if own else (config or {})


def _validate_globals(values: dict[str, Any], env: str) -> dict[str, Any]:
    """Paths for the catalog: ``data_root`` under ``data_home``, raw files with the user's folder spelt out."""
    try:
        config = GlobalsConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(describe_problems(error, env, "globals")) from None
    raw = {
        name: ";".join(os.path.expanduser(part.strip()) for part in files.split(";"))
        for name, files in config.raw.model_dump(exclude_none=True).items()
    }
    root = Path(config.data_home).expanduser() / Path(config.data_root).expanduser()
    _check_data_root(root)
    return {"data_root": root.as_posix(), "raw": raw}


def _check_data_root(root: Path) -> None:
    """Refuse a folder whose versions Kedro could not find again: it looks for them by patterns."""
    if found := sorted(set(str(root)) & set("{}[]*?")):
        raise ConfigurationError(
            f"data_root={root}: the characters {' '.join(found)} stand for patterns in the catalog; name a folder "
            "without them"
        )
    if occupied := next((path for path in (root, *root.parents) if path.exists() and not path.is_dir()), None):
        raise ConfigurationError(f"data_root={root}: {occupied} is a file; name a folder, which need not exist")


def _validate_sources(values: dict[str, Any], env: str) -> dict[str, Any]:
    """What is fetched from where, with every default filled in."""
    try:
        config = SourcesConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(describe_problems(error, env, "sources")) from None
    for name, source in config.inputs.items():
        if source.raw is not None and source.raw not in RawFiles.model_fields:
            problem = f"inputs.{name}.raw: there is no key raw.{source.raw}; known: {', '.join(RawFiles.model_fields)}"
            raise ConfigurationError(f"sources of env '{env}' are not valid:\n  {problem}")
    return config.model_dump(mode="json")


def _sources_in_use(sources: dict[str, Any], raw: dict[str, str]) -> dict[str, Any]:
    """What cards may say of inputs: nothing of those that the simulated arena or files of one's own stand in for."""
    inputs = {} if sources["simulated"] else sources["inputs"]
    return sources | {
        "simulated": sources["simulated"] and "train" not in raw,
        "inputs": {name: source for name, source in inputs.items() if source["raw"] not in raw},
    }


def _validate_parameters(parameters: dict[str, Any], env: str, project: Path) -> dict[str, Any]:
    """The whole tree with every default filled in, and ``resolved``."""
    try:
        config = ProjectConfig.model_validate(parameters)
    except ValidationError as error:
        raise ConfigurationError(describe_problems(error, env, "parameters")) from None
    resolved: dict[str, dict[str, Any]] = {}
    for training in config.roster.trainings():
        judge = config.resolve(training.stage, training.judge).model_dump(mode="json")
        resolved.setdefault(training.stage, {})[training.judge] = judge
    readings = {
        labels: {judge: table.reading(judge).model_dump(mode="json") for judge in judges}
        for labels, table, judges in config.labellings()
    }
    tree = config.model_dump(mode="json") | {"resolved": resolved, "readings": readings}
    for judge in tree["judges"].values():
        judge["backbone"]["source"] = _spell_out(judge["backbone"]["source"], project)
    for name, model in config.generation.answer_models.items():
        if model.is_local:
            tree["generation"]["answer_models"][name]["model"] = _spell_out(model.model, project)
    tree["labellers"] = {
        labels: {judge: dict(tree["judges"][judge]["backbone"]) for judge in judges}
        for labels, _, judges in config.labellings()
    }
    return tree


def _spell_out(source: str | None, project: Path) -> str | None:
    """A directory's whole path: a relative one starts from the project, wherever the command is given; others as is."""
    directory = project / Path(source or "").expanduser()
    return str(directory.resolve()) if source and directory.is_dir() else source


def describe_problems(error: ValidationError, env: str, kind: str) -> str:
    """One line a problem: YAML path, what is wrong, the value."""
    lines = [f"{kind} of env '{env}' (conf/base, conf/{env}, conf/local, --params) are not valid:"]
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "there is no such key; is it misspelt?"
        value = "" if problem["type"] in ("value_error", "missing") else f" (got {problem['input']!r})"
        lines.append(f"  {place}: {message}{value}" if place else f"  {message}")
    return "\n".join(lines)
