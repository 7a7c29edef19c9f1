"""Commands beside Kedro's own: ``kedro status``, ``plan``, ``fetch``, ``clean``, ``compare``, ``forget``.

Each is loaded only when it is called, since this module is imported by every ``kedro`` command.
"""

from importlib import import_module

import click

_COMMANDS = ("status", "plan", "fetch", "clean", "compare", "forget")


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"wsdm_arena.cli.{cmd_name}"), cmd_name)
        return command


@click.group(name="wsdm_arena", cls=_LazyGroup)
def cli() -> None:
    """Commands of wsdm-arena."""
