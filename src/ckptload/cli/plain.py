"""The command without the extra `cli`: list files as plain text with the standard library alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from ckptload import open_checkpoint
from ckptload.cli import text
from ckptload.errors import CheckpointError
from ckptload.messages import shown_text
from ckptload.shown import label, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload import Reader

_USAGE: Final = """\
usage: python -m ckptload FILE...

List the entries of MindSpore checkpoints: name, dtype, shape, bytes.

This is the plain listing. The extra cli adds trees, statistics, JSON, encrypted files, and the commands
verify, diff, convert, encrypt, decrypt and report:  pip install "ckptload[cli]"
"""
_NOTE: Final = 'for inspect, verify, diff, convert and report: pip install "ckptload[cli]"'


def run(arguments: Sequence[str]) -> int:
    """List the given files; return the exit code."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        (sys.stdout if arguments else sys.stderr).write(_USAGE)
        return text.SOUND if arguments else text.USAGE
    unknown = [argument for argument in arguments if argument.startswith("-")]
    if unknown:
        _complain([f"ckptload: {shown_text(unknown[0])} is not an option of the plain listing", f"  hint: {_NOTE}"])
        return text.USAGE
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
        _complain([_NOTE])
    return text.worst(codes)


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
