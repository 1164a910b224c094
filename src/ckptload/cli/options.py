"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ckptload.cli import completing
from ckptload.cli.keys import KeyChoice
from ckptload.cli.sets import Ranks
from ckptload.cli.terminal import Terminal
from ckptload.messages import shown_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Function = TypeVar("Function", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose help does not re-wrap paragraphs with indented lines, such as examples."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help text; click re-wraps a paragraph unless a backspace character precedes it."""
        written = self.help
        self.help = verbatim(written or "")
        try:
            super().format_help_text(ctx, formatter)
        finally:
            self.help = written


def verbatim(written: str) -> str:
    """Mark the paragraphs of a help text that have indented lines, so that click does not re-wrap them."""
    paragraphs = inspect.cleandoc(written).split("\n\n")
    return "\n\n".join(f"\b\n{one}" if "\n  " in one else one for one in paragraphs)


if TYPE_CHECKING:
    _Words = click.ParamType[tuple[str, ...]]
else:
    # It cannot be subscribed in every version of click.
    _Words = click.ParamType


class Keys(_Words):
    """Several words with commas between them, each one of a few."""

    name = "keys"

    def __init__(self, known: Iterable[str]) -> None:
        self.known = list(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the words as a tuple."""
        if isinstance(value, tuple):
            return value
        keys = tuple(key.strip() for key in value.split(",")) if value else ()
        for key in keys:
            if key not in self.known:
                self.fail(f"{shown_value(key)} is not one of {', '.join(self.known)}", param, ctx)
        return keys

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 -- click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Complete the last word by those that are not there yet."""
        before, comma, last = incomplete.rpartition(",")
        return [
            CompletionItem(before + comma + key)
            for key in self.known
            if key.startswith(last) and key not in before.split(",")
        ]


MODES = ("AES-GCM", "AES-CBC", "SM4-CBC")
FILE = click.Path(path_type=str)


def common(command: Callable[..., int]) -> Callable[..., int]:
    """Add --quiet, --color and --debug; the command gets a `Terminal` as its argument `terminal`."""

    @functools.wraps(command)
    def wrapped(*, quiet: bool, color: Any, debug: bool, **arguments: Any) -> int:
        return command(terminal=Terminal(quiet=quiet, debug=debug, wanted=color), **arguments)

    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            help="When to use colours; auto: on a terminal, unless NO_COLOR is set.",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, help="Hide progress, notes and warnings; in verify and diff also the output."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _key_options(prefix: str, what: str, argument: str) -> Callable[[Function], Function]:
    def decorate(command: Any) -> Any:
        for option in (
            click.option(
                f"{prefix}-format",
                f"{argument}_format",
                type=click.Choice(["hex", "raw"]),
                help="Form of the key: hexadecimal digits, or the bytes themselves.",
            ),
            click.option(
                f"{prefix}-prompt", f"{argument}_prompt", is_flag=True, help="Ask for the key without showing it."
            ),
            click.option(f"{prefix}-env", f"{argument}_env", metavar="NAME", help="Environment variable with the key."),
            click.option(
                f"{prefix}-file", f"{argument}_file", metavar="FILE", type=FILE, help=f"File with the {what}."
            ),
        ):
            command = option(command)
        return command

    return decorate


def key_to_read(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options for the key of encrypted input; the command gets them as its argument `key`."""

    @functools.wraps(command)
    def wrapped(
        *,
        key_file: str | None,
        key_env: str | None,
        key_prompt: bool,
        key_format: str | None,
        mode: str | None,
        allow_unauthenticated: bool,
        **arguments: Any,
    ) -> int:
        choice = KeyChoice(key_file, key_env, key_prompt, key_format, mode, allow_unauthenticated)
        return command(key=choice, **arguments)

    wrapped = click.option(
        "--allow-unauthenticated", is_flag=True, help="Open AES-GCM files with data that no tag covers."
    )(wrapped)
    wrapped = click.option(
        "--mode", type=click.Choice(MODES, case_sensitive=False), help="Cipher, if it is not in the file."
    )(wrapped)
    return _key_options("--key", "key of an encrypted file", "key")(wrapped)


def key_to_write(prefix: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add the options for the key that a file is encrypted with; the command gets them as its argument `out_key`.

    Args:
        prefix: ``--key``, or ``--out-key`` if the input also has a key.
    """
    mode = prefix.replace("key", "mode") if prefix != "--key" else "--mode"

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def wrapped(
            *,
            out_key_file: str | None,
            out_key_env: str | None,
            out_key_prompt: bool,
            out_key_format: str | None,
            out_mode: str,
            **arguments: Any,
        ) -> int:
            choice = KeyChoice(out_key_file, out_key_env, out_key_prompt, out_key_format, out_mode, option=prefix)
            return command(out_key=choice, **arguments)

        wrapped = click.option(
            mode,
            "out_mode",
            type=click.Choice(MODES, case_sensitive=False),
            default=MODES[0],
            show_default=True,
            help="Cipher to encrypt with.",
        )(wrapped)
        return _key_options(prefix, "key to encrypt with", "out_key")(wrapped)

    return decorate


def name_map(command: Function) -> Function:
    """Add --map; the command gets it as its argument `map_file`."""
    return click.option(
        "--map",
        "--name-map",
        "map_file",
        type=FILE,
        shell_complete=completing.maps,
        metavar="MAP",
        help='New names: a file with rules or with {"old": "new"}, or a map that is known by name.',
    )(command)


def limit(command: Function) -> Function:
    """Add --max-records; the command gets it as its argument `max_records`, None if it was not given."""
    return click.option(
        "--max-records",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse files with more entries than this (default: 1000000).",
    )(command)


def select(command: Function) -> Function:
    """Add --include and --exclude."""
    include = click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        shell_complete=completing.entries,
        help="Take only entries with matching names; may be repeated.",
    )
    exclude = click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        shell_complete=completing.entries,
        help="Skip entries with matching names; may be repeated.",
    )
    return include(exclude(command))


def filters(command: Function) -> Function:
    """Add --filter; the command gets it as its argument `patterns`."""
    return click.option(
        "--filter",
        "patterns",
        multiple=True,
        metavar="GLOB",
        shell_complete=completing.entries,
        help="Show only entries with matching names; may be repeated.",
    )(command)


def rows(what: str) -> Callable[[Function], Function]:
    """Add --limit; the command gets it as its argument `rows`, None if it was not given."""
    return click.option(
        "--limit", "rows", type=click.IntRange(min=0), metavar="N", help=f"Show only the first N {what}."
    )


def of_ranks(command: Function) -> Function:
    """Add --strategy, --file-suffix and --copies, which say how a set of ranks is read."""
    for option in (
        click.option(
            "--copies",
            type=click.Choice(["error", "warn", "first"]),
            help="Ranks that should hold the same: error compares them whole, first takes the first.",
        ),
        click.option(
            "--file-suffix", metavar="S", help="Of several files of a rank take those whose names end so, such as 10_1."
        ),
        click.option("--strategy", type=FILE, metavar="FILE", help="Strategy of the ranks: a file or a folder."),
    ):
        command = option(command)
    return command


def ranks(command: Callable[..., int]) -> Callable[..., int]:
    """Add the same options; the command gets them together as its argument `ranks`."""

    @functools.wraps(command)
    def wrapped(*, strategy: str | None, file_suffix: str | None, copies: str | None, **arguments: Any) -> int:
        return command(ranks=Ranks(strategy, file_suffix, copies), **arguments)

    return of_ranks(wrapped)
