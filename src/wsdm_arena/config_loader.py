"""Configuration in the order base, environment, local, command line; validated as one tree."""

from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException, OmegaConfigLoader
from pydantic import ValidationError

from wsdm_arena.config import ProjectConfig, deep_merge

GLOBALS_ON_THE_COMMAND_LINE = ("data_root", "raw")
"""Keys of ``kedro run --params`` that set paths of the catalog (``globals.yml``), not parameters."""


class ConfigurationError(click.ClickException):
    """A mistake in the user's configuration: one message, no traceback."""


class LocalLastConfigLoader(OmegaConfigLoader):
    """Merges ``conf/local`` last in every environment and checks the parameters as a whole.

    Kedro by itself reads ``local`` only as an environment of its own. The loaded parameters carry one more key,
    ``resolved.<stage>.<judge>``: the merge of every layer that describes this judge in this stage, which is what
    nodes receive.
    """

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Load one kind of configuration.

        Raises:
            ConfigurationError: A parameter is misspelt or out of range; names its YAML path.
        """
        self._register_globals_resolver()  # it is one for the process, and another loader may have taken it since
        if key in self:
            return super().__getitem__(key)
        config = self._with_local(key)
        if key == "globals":
            own = {k: v for k, v in (self.runtime_params or {}).items() if k in GLOBALS_ON_THE_COMMAND_LINE}
            config = deep_merge(config, own)
        elif key == "parameters":
            config = {k: v for k, v in config.items() if k not in GLOBALS_ON_THE_COMMAND_LINE}
            config = _validate(config, self.env or self.default_run_env)
        return config

    def _with_local(self, key: str) -> dict[str, Any]:
        try:
            config: dict[str, Any] | None = super().__getitem__(key)
        except MissingConfigException:
            config = None
        local = Path(self.conf_source) / "local"
        own: dict[str, Any] = {}
        if local.is_dir() and (self.env or self.default_run_env) != "local" and key in self.config_patterns:
            own = self.load_and_merge_dir_config(
                str(local), self.config_patterns[key], key, set(), key == "credentials"
            )
        if config is None and not own:
            raise MissingConfigException(f"no {key} configuration in {self.conf_source}")
        return self._merge_configs(config or {}, own, key, str(local)) if own else (config or {})


def _validate(parameters: dict[str, Any], env: str) -> dict[str, Any]:
    """The whole tree with every default filled in, and ``resolved``."""
    try:
        project = ProjectConfig.model_validate(parameters)
    except ValidationError as error:
        raise ConfigurationError(describe_problems(error, env)) from None
    resolved = {
        stage: {judge: project.resolve(stage, judge).model_dump(mode="json") for judge in project.judges}
        for stage in project.stages
    }
    return project.model_dump(mode="json") | {"resolved": resolved}


def describe_problems(error: ValidationError, env: str) -> str:
    """One line a problem: YAML path, what is wrong, the value."""
    lines = [f"parameters of env '{env}' (conf/base, conf/{env}, conf/local, --params) are not valid:"]
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "there is no such parameter; is it misspelt?"
        value = "" if problem["type"] in ("value_error", "missing") else f" (got {problem['input']!r})"
        lines.append(f"  {place}: {message}{value}" if place else f"  {message}")
    return "\n".join(lines)
