"""`ckptload help` and `ckptload version`: what --help and --version do, as words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ckptload import __version__
from ckptload.cli import options, text
from ckptload.cli.completion import PROGRAM
from ckptload.messages import shown_text

if TYPE_CHECKING:
    from ckptload.cli.terminal import Terminal


def _commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    every: Any = ctx.find_root().command
    return [CompletionItem(name) for name in every.list_commands(ctx) if name.startswith(incomplete)]


@click.command(cls=options.Command)
@click.argument("command", required=False, metavar="[COMMAND]", shell_complete=_commands)
@options.common
@click.pass_context
def help_(ctx: click.Context, *, command: str | None, terminal: Terminal) -> int:  # noqa: ARG001 -- as above
    """Show the help of ckptload or of a command.

    Examples:
      ckptload help
      ckptload help convert
    """
    root = ctx.find_root()
    found: click.Command | None = root.command
    if command is not None and isinstance(found, click.Group):
        found = found.get_command(root, command)
    if found is None:
        raise click.UsageError(f"{shown_text(command or '')} is not a command; ckptload help lists them")
    info = {"parent": root, "info_name": command} if command is not None else {"info_name": PROGRAM}
    with click.Context(found, **{**found.context_settings, **info}) as context:
        sys.stdout.write(found.get_help(context) + "\n")
    return text.SOUND


@click.command(cls=options.Command)
@options.common
def version(*, terminal: Terminal) -> int:  # noqa: ARG001 -- every command has one
    """Print the version of ckptload.

    Examples:
      ckptload version
    """
    sys.stdout.write(version_line() + "\n")
    return text.SOUND


def version_line() -> str:
    """Return what --version prints."""
    return f"{PROGRAM} {__version__}"
