"""Text for terminals and pipes: hostile names made harmless, errors in one or two lines, exit codes."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Final, TextIO

from ckptload import errors
from ckptload.cli.words import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

SOUND: Final = 0
DAMAGED: Final = 1
#: Wrong arguments, or a file that cannot be read or written.
USAGE: Final = 2
NEEDS_KEY: Final = 3
UNCHECKED: Final = 4
INTERRUPTED: Final = 130
#: What a shell reports of a command that was ended by SIGPIPE.
CUT_OFF: Final = 141

#: What is wrong with the call or the machine, and not with the content of a file.
_TROUBLE: Final = (
    errors.ReadError,
    errors.WriteError,
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


def width(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1 for c in text
    )


def exit_code(error: errors.CheckpointError) -> int:
    """Return the exit code that stands for an error: `DAMAGED`, `USAGE` or `NEEDS_KEY`."""
    if isinstance(error, errors.EncryptedCheckpointError):
        return NEEDS_KEY
    return USAGE if isinstance(error, _TROUBLE) else DAMAGED


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for several files: that of the one that most wants attention."""
    order = (DAMAGED, USAGE, NEEDS_KEY, UNCHECKED)
    found = set(codes)
    return next((code for code in order if code in found), SOUND)


def problem(error: errors.CheckpointError) -> str:
    """Put an error into one line, without file and hint."""
    line = error.problem if error.name is None else f"parameter {error.name!r}: {error.problem}"
    if error.offset is not None:
        line += f" (at byte {error.offset})"
    return _one_line(line)


def hint(error: errors.CheckpointError) -> str | None:
    """Return the next step that an error suggests, in terms of the command."""
    step = error.hint_in(WORDS)
    return None if step is None else _one_line(step)


def error_lines(error: errors.CheckpointError, path: str | None = None) -> list[str]:
    """Put an error into one line, and its hint into a second.

    Args:
        error: what was raised.
        path: file as the user named it; by default what the error knows.
    """
    where = path or error.path
    first = f"ckptload: {printable(where)}: {problem(error)}" if where else f"ckptload: {problem(error)}"
    step = hint(error)
    return [first, f"  hint: {step}"] if step else [first]


def _one_line(text: str) -> str:
    return printable(" ".join(text.splitlines()))


def grouped(number: int) -> str:
    """Print a number in groups of three digits."""
    return f"{number:,}"


def counted(number: int, singular: str, plural: str) -> str:
    """Print a number with the right form of its noun."""
    return f"{number:,} {singular if number == 1 else plural}"


def human(size: int) -> str:
    """Print a number of bytes in a unit that people read."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 -- the step between the units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def prepare_streams() -> None:
    """Make stdout and stderr able to print any text: what their encoding lacks is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon(*streams: TextIO) -> None:
    """Point streams whose reader is gone at nothing, so that flushing them at exit raises nothing."""
    for stream in streams:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
