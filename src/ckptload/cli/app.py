"""The program: its commands, and the handling of their errors."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, shell_complete

from ckptload import __version__
from ckptload.cli import options, text
from ckptload.cli.commands import COMMANDS
from ckptload.cli.completion import PROGRAM, VARIABLE
from ckptload.errors import CheckpointError
from ckptload.messages import shown_text
from ckptload.shown import KEY_FROM, length, may_be_key, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT: Final = "inspect"
_OWN_OPTIONS: Final = frozenset({"--help", "-h", "--version"})


class _Commands(options.Command, click.Group):
    """The commands, each imported when it is called; any other word is a file to inspect."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"ckptload.cli.{module}"), attribute)
        command.name = cmd_name
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not ctx.resilient_parsing and args[0] not in COMMANDS and args[0] not in _OWN_OPTIONS:
            _suspect_a_typing_error(args[0])
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Only completion gets here with a file: otherwise `parse_args` has put the command before it.
        if ctx.resilient_parsing and args[0] not in COMMANDS:
            args = [_DEFAULT, *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # A file may be given instead of a command.
        return [*super().shell_complete(ctx, incomplete), CompletionItem(incomplete, type="file")]


def _suspect_a_typing_error(word: str) -> None:
    """Refuse a word that looks like a misspelt command and is not a file."""
    if os.path.exists(word) or "." in word or "/" in word or word.startswith("-"):  # noqa: PTH110
        return
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    raise click.UsageError(
        f"{shown_text(word)} is neither a command nor a file" + (f"; did you mean {near[0]}?" if near else "")
    )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`ckptload FILE` is short for `ckptload inspect FILE`. Each command has --help, with examples.",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def program() -> None:
    """Inspect, check, compare and convert MindSpore checkpoints and safetensors files.

    Examples:
      ckptload model.ckpt
      ckptload verify *.ckpt
      ckptload diff before.ckpt after.ckpt
      ckptload convert model.ckpt model.safetensors
      ckptload report model.ckpt -o page.html
    """


def run(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code.

    Raises:
        BrokenPipeError: the reader of the output is gone.
        KeyboardInterrupt: the user stopped it.
    """
    instruction = os.environ.get(VARIABLE)
    if instruction:
        return shell_complete(program, {}, PROGRAM, VARIABLE, instruction)
    if not arguments:
        with click.Context(program, info_name=PROGRAM, **program.context_settings) as context:
            sys.stderr.write(program.get_help(context) + "\n")
        return text.USAGE
    debug = "--debug" in arguments
    try:
        # Not click's main(), which handles Ctrl-C and a closed pipe in its own way.
        with program.make_context(PROGRAM, list(arguments)) as context:
            code = program.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        # Without a traceback, which would show the words that the message does not.
        _complain(_usage(error, arguments), debug=False)
        return text.USAGE
    except CheckpointError as error:
        _complain(text.error_lines(error), debug=debug)
        return text.exit_code(error)
    except MemoryError:
        _complain(["ckptload: not enough memory", "  hint: close other programs"], debug=debug)
        return text.USAGE
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 -- a user gets a message and not a traceback
        _complain(
            [f"ckptload: this is a bug in ckptload: {type(error).__name__}: {printable(str(error))}",
             "  hint: run it again with --debug, and report the output"],
            debug=debug,
        )  # fmt: skip
        return text.USAGE
    return code if isinstance(code, int) else text.SOUND


def _usage(error: click.ClickException, arguments: Sequence[str]) -> list[str]:
    message = " ".join(error.format_message().split())
    for word in sorted(_maybe_keys(arguments, all_long=isinstance(error, click.BadParameter)), key=len, reverse=True):
        message = message.replace(repr(word), length(word)).replace(word, length(word))
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ckptload"
    return [f"ckptload: {printable(message)}", f"  hint: {path} --help"]


def _maybe_keys(arguments: Sequence[str], *, all_long: bool) -> set[str]:
    """Return the words of the command line that may be keys, which no message shows.

    Args:
        arguments: the words.
        all_long: whether any word that is long enough counts, because another value was expected.
    """
    found: set[str] = set()
    for argument in arguments:
        option, _, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
        found.update(word for word in (option.lstrip("-"), value) if may_be_key(word))
        if all_long and len(value) >= KEY_FROM:
            found.add(value)
    return found


def _complain(lines: Sequence[str], *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in lines))
