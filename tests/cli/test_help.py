"""What every command of ours says of itself."""

import re

import click
import pytest
from click.testing import CliRunner

from wsdm_arena.cli import cli

COMMANDS = cli.list_commands(click.Context(cli))


def help_of(name: str) -> str:
    shown = CliRunner().invoke(cli, [name, "--help"], env={"COLUMNS": "120"}, terminal_width=120, max_content_width=120)
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_rendered_and_names_the_environment_that_is_meant(name):
    shown = help_of(name)
    assert "\\" not in shown
    assert "\b" not in shown
    assert re.search(r"--env TEXT\s+Environment, .*Defaults to\s+\$KEDRO_ENV, or sample\.", shown, re.DOTALL)
    assert "local`" not in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_an_environment_and_parameters(name):
    assert {"env", "params"} <= {option.name for option in _options(name)}


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"forget"}))
def test_every_command_that_shows_something_has_json(name):
    assert "as_json" in [option.name for option in _options(name)]


def test_the_states_stand_in_lines_of_their_own():
    lines = [line.split()[0] for line in help_of("status").splitlines() if line.strip()]
    states = ["fresh", "stale", "partial", "waiting", "missing"]
    assert [word for word in lines if word in states] == states


def _options(name: str) -> list[click.Option]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return [param for param in command.params if isinstance(param, click.Option)]
