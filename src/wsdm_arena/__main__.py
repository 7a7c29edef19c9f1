"""``python -m wsdm_arena``: judge files or train on one's own without a Kedro project, or run the project.

Options without a command are those of ``run``, as Kedro expects of a package; nothing at all shows the help.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

import click

_COMMANDS = {
    "judge": "Say which of two answers people would prefer, for files of pairs.",
    "train": "Train a judge on files of one's own battles.",
    "run": "Run the project, as `kedro run` does.",
}
_GROUP_OPTIONS = ("--help", "-h", "--version")


class _LazyGroup(click.Group):
    """Loads a command when it is called: `judge` and `train` need no Kedro, help needs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "run":
            return _find_run_command()
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"wsdm_arena.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    name="wsdm_arena",
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="wsdm-arena", prog_name="wsdm-arena")
def cli() -> None:
    """Judges that predict which of two chatbot answers a human prefers.

    `COMMAND --help` says all about a command. Options without a command are those of `run`.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the package.

    Args:
        arguments: Of the command line; those of this process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0].startswith("-") and given[0] not in _GROUP_OPTIONS:
        given = ["run", *given]
    if given[:1] == ["run"]:
        _require_project(given[1:])
    cli(given, prog_name=_program_name())


def _require_project(arguments: Sequence[str]) -> None:
    """Say at once that a run needs the project's configuration."""
    from kedro.utils import find_kedro_project

    is_told = any(argument.startswith(("--conf-source", "--help", "-h")) for argument in arguments)
    if not is_told and find_kedro_project(Path.cwd()) is None:
        error = click.ClickException(
            f"{Path.cwd()} is not in the project, whose conf/ a run needs: change to the project's folder, or name the "
            "configuration with --conf-source. (`judge` and `train` work anywhere.)"
        )
        error.show()
        sys.exit(error.exit_code)


def _find_run_command() -> click.Command:
    """Kedro's own; its find_run_command would look for one in our package of further commands."""
    from kedro.framework.cli.project import run
    from kedro.framework.project import configure_project

    configure_project(Path(__file__).parent.name)
    return cast(click.Command, run)


def _program_name() -> str:
    name = Path(sys.argv[0]).name
    return "python -m wsdm_arena" if name in ("__main__.py", "-m", "") else name


if __name__ == "__main__":
    main()
