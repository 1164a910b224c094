"""The command without the extra `cli`: list files as plain text with the standard library alone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from ckptload import __version__, extras, open_checkpoint
from ckptload.cli import text
from ckptload.cli.commands import COMMANDS
from ckptload.errors import CheckpointError
from ckptload.messages import shown_text
from ckptload.shown import label, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload import Reader

_USAGE: Final = """\
usage: python -m ckptload FILE...

List the entries of MindSpore checkpoints: name, dtype, shape, bytes.

This is the plain listing. With the extra "cli" there are trees, statistics, JSON, encrypted files, and the commands
{commands}:
  {install}
"""
_HELP: Final = ("-h", "--help", "help")
_VERSION: Final = ("--version", "version")
#: This program does what the first and the words above do.
_OTHERS: Final = tuple(name for name in COMMANDS if name not in {"inspect", *_HELP, *_VERSION})


def run(arguments: Sequence[str]) -> int:
    """List the given files; return the exit code."""
    if not arguments or arguments[0] in _HELP:
        usage = _USAGE.format(commands=", ".join(_OTHERS), install=extras.install(extras.CLI))
        (sys.stdout if arguments else sys.stderr).write(usage)
        return text.SOUND if arguments else text.USAGE
    if arguments[0] in _VERSION:
        sys.stdout.write(f"ckptload {__version__}\n")
        return text.SOUND
    unknown = [argument for argument in arguments if argument.startswith("-")]
    if arguments[0] in COMMANDS and not os.path.exists(arguments[0]):  # noqa: PTH110 -- of a word on the command line
        return _refuse(f"the command {arguments[0]} needs the extra {extras.CLI!r}, which is not installed")
    if unknown:
        return _refuse(f"{shown_text(unknown[0])} is an option of the extra {extras.CLI!r}, which is not installed")
    codes = []
    for number, path in enumerate(arguments):
        if len(arguments) > 1:
            sys.stdout.write(("\n" if number else "") + label(path) + ":\n")
        try:
            with open_checkpoint(path) as reader:
                codes.append(_list(reader, path))
        except CheckpointError as error:
            _complain(text.error_lines(error, path))
            codes.append(text.exit_code(error))
    if sys.stdout.isatty():
        _complain([f"for trees, statistics, verify, diff, convert and more: {extras.install(extras.CLI)}"])
    return text.worst(codes)


def _refuse(problem: str) -> int:
    _complain([f"ckptload: {problem}", f"  hint: {extras.install(extras.CLI)}"])
    return text.USAGE


def _list(reader: Reader, path: str) -> int:
    """Print a file's entries and their total; return the exit code."""
    rows: list[tuple[str, str, str, str]] = []
    total = 0
    bad: list[CheckpointError] = []
    for name in reader:
        try:
            entry = reader.info(name)
        except CheckpointError as error:
            bad.append(error)
            rows.append((printable(name), text.KINDS[text.exit_code(error)], "", ""))
            continue
        total += entry.nbytes
        rows.append(
            (
                printable(name),
                text.type_of(entry),
                str(entry.shape) if text.has_shape(entry) else "",
                text.grouped(entry.nbytes),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, dtype, shape, size in rows:
        line = f"{name:<{widths[0]}}  {dtype:<{widths[1]}}  {shape:<{widths[2]}}  {size:>{widths[3]}}"
        sys.stdout.write(line.rstrip() + "\n")
    entries = "1 entry" if len(rows) == 1 else f"{text.grouped(len(rows))} entries"
    sys.stdout.write(f"{entries}, {text.grouped(total)} bytes\n")
    for found in text.distinct(bad):
        _complain(text.error_lines(found, path))
    return text.worst(map(text.exit_code, bad))


def _complain(lines: Sequence[str]) -> None:
    sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in lines))
