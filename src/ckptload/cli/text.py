"""Text for terminals and pipes: hostile names made harmless, errors in one or two lines, exit codes."""

from __future__ import annotations

import io
import os
import sys
from typing import Final, TextIO

from ckptload import errors

SOUND: Final = 0
DAMAGED: Final = 1
#: Wrong arguments, or a file that cannot be read or written.
USAGE: Final = 2
NEEDS_KEY: Final = 3
UNCHECKED: Final = 4
INTERRUPTED: Final = 130

#: What is wrong with the call or the machine, and not with the content of a file.
_TROUBLE: Final = (
    errors.ReadError,
    errors.ArgumentError,
    errors.ArgumentTypeError,
    errors.ArgumentNameError,
    errors.OutOfMemoryError,
    errors.ChangedFileError,
    errors.CipherUnavailableError,
)


def printable(text: str) -> str:
    """Replace what could steer a terminal or hide text by escapes: controls, direction marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def exit_code(error: errors.CheckpointError) -> int:
    """Return the exit code that stands for an error: `DAMAGED`, `USAGE` or `NEEDS_KEY`."""
    if isinstance(error, errors.EncryptedCheckpointError):
        return NEEDS_KEY
    return USAGE if isinstance(error, _TROUBLE) else DAMAGED


def error_lines(error: errors.CheckpointError, path: str | None = None) -> list[str]:
    """Put an error into one line, and its hint into a second.

    Args:
        error: what was raised.
        path: file as the user named it; by default what the error knows.
    """
    problem = error.problem if error.name is None else f"parameter {error.name!r}: {error.problem}"
    if error.offset is not None:
        problem += f" (at byte {error.offset})"
    where = path or error.path
    first = f"ckptload: {where}: {problem}" if where else f"ckptload: {problem}"
    lines = [first, f"  hint: {error.hint}"] if error.hint else [first]
    return [printable(line) for line in lines]


def grouped(number: int) -> str:
    """Print a number in groups of three digits."""
    return f"{number:,}".replace(",", " ")


def prepare_streams() -> None:
    """Make stdout and stderr able to print any text: what their encoding lacks is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon(stream: TextIO) -> None:
    """Point a stream whose reader is gone at nothing, so that flushing it at exit raises nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
