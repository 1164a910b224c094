"""Text for terminals and pipes: escaping of untrusted names, errors in one or two lines, exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from ckptload import __version__, errors
from ckptload.cli.standard import place
from ckptload.cli.words import WORDS
from ckptload.messages import listed
from ckptload.shown import human_bytes, human_count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload import Entry

#: The exit codes of all commands but diff (docs/cli.md, "Exit codes").
SOUND: Final = 0
DAMAGED: Final = 1
#: Patterns that no name matches, or a name that no entry has.
NO_MATCH: Final = 1
#: Wrong arguments, or a file that cannot be read or written.
USAGE: Final = 2
NEEDS_KEY: Final = 3
UNCHECKED: Final = 4
OTHER_KIND: Final = 5
MISSING: Final = 6
UNSUPPORTED: Final = 7
#: What an error is about, by its exit code, in the words of JSON (docs/cli.md, "JSON").
KINDS: Final = {
    DAMAGED: "damaged",
    USAGE: "unread",
    NEEDS_KEY: "encrypted",
    OTHER_KIND: "other kind",
    MISSING: "missing",
    UNSUPPORTED: "unsupported",
}
#: The same for fields that no version of MindSpore writes.
FOREIGN: Final = "foreign field"
#: The same for what was decided when the files of many ranks were read as one.
SET: Final = "set"
#: Types that are not supported that one line names.
_TYPES: Final = 8
#: The number of the JSON documents; it changes when a field is removed or its meaning changes.
_SCHEMA: Final = 2
#: From this number of bytes on they are shown in a unit.
_UNIT: Final = 1024
INTERRUPTED: Final = 130
#: The exit code that a shell reports for a command ended by SIGPIPE.
CUT_OFF: Final = 141

#: Errors of the call or the machine, not of the contents of a file.
_TROUBLE: Final = (
    errors.ReadError,
    errors.WriteError,
    errors.ArgumentError,
    errors.ArgumentTypeError,
    errors.ArgumentNameError,
    errors.OutOfMemoryError,
    errors.ChangedFileError,
    errors.CipherUnavailableError,
    errors.MissingPackageError,
    errors.LimitError,
)
#: The exit code of each class of errors; the first that fits counts, and any other error means damage.
_CODES: Final[tuple[tuple[type[errors.CheckpointError] | tuple[type[errors.CheckpointError], ...], int], ...]] = (
    (errors.EncryptedCheckpointError, NEEDS_KEY),
    (errors.MissingShardError, MISSING),
    ((errors.NothingSelectedError, errors.UnknownNameError), NO_MATCH),
    (_TROUBLE, USAGE),
    (errors.WrongFormatError, OTHER_KIND),
    (errors.UnsupportedTypeError, UNSUPPORTED),
)


def width(text: str) -> int:
    """Return the number of terminal columns that a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1 for c in text
    )


def exit_code(error: errors.CheckpointError) -> int:
    """Return the exit code for an error; no error gives `SOUND` or `UNCHECKED`."""
    return next((code for cls, code in _CODES if isinstance(error, cls)), DAMAGED)


def distinct(found: Iterable[errors.CheckpointError]) -> list[errors.CheckpointError]:
    """Return errors without those that say the same again, as each tensor of a missing shard does."""
    return list({identity(error): error for error in found}.values())


def identity(error: errors.CheckpointError) -> tuple[str, str | None, str | None, int | None]:
    """Return what is equal if two errors say the same."""
    return error.problem, error.path, error.name, error.offset


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for several files: that of the worst one (docs/cli.md, "Exit codes")."""
    order = (DAMAGED, USAGE, NEEDS_KEY, OTHER_KIND, MISSING, UNSUPPORTED, UNCHECKED)
    found = set(codes)
    return next((code for code in order if code in found), SOUND)


def problem(error: errors.CheckpointError) -> str:
    """Format an error in one line, without file and hint."""
    line = error.problem if error.name is None else f"parameter {error.name!r}: {error.problem}"
    if error.offset is not None:
        line += f" (at byte {error.offset})"
    return _one_line(line)


def hint(error: errors.CheckpointError) -> str | None:
    """Return the hint of an error, worded for the command line."""
    step = error.hint_in(WORDS)
    return None if step is None else _one_line(step)


def error_lines(error: errors.CheckpointError, path: str | None = None) -> list[str]:
    """Format an error in one line, and its hint in a second.

    Args:
        error: the exception.
        path: file as the user named it; by default the path of the error, also if that is a file of a folder.
    """
    where = file_of(error, path) or (place(path) if path else error.path)
    first = f"ckptload: {printable(where)}: {problem(error)}" if where else f"ckptload: {problem(error)}"
    step = hint(error)
    return [first, f"  hint: {step}"] if step else [first]


def file_of(error: errors.CheckpointError, folder: str | None) -> str | None:
    """Return the path of an error if the user named a folder and the error is about a file, such as that of a rank."""
    if not folder or not error.path or not Path(folder).is_dir():
        return None
    return None if Path(error.path).absolute() == Path(folder).absolute() else error.path


def document(**content: Any) -> list[str]:
    """Return a JSON document of a command in lines."""
    document = {"ckptload": __version__, "schema": _SCHEMA, **content}
    return json.dumps(document, allow_nan=False, indent=1).splitlines()


def _one_line(text: str) -> str:
    return printable(" ".join(text.splitlines()))


def type_of(entry: Entry) -> str:
    """Return the text for the type of an entry: its dtype, its type in the file if it is not supported, or its kind."""
    return printable(entry.type_name) or str(entry.dtype or entry.kind)


def has_shape(entry: Entry) -> bool:
    """Tell whether an entry is a tensor, of a supported type or not."""
    return entry.dtype is not None or entry.kind == "unsupported"


def unsupported(entries: Iterable[Entry]) -> str | None:
    """Say once, whatever the number of entries, which types are not supported; None if all are."""
    by_type: dict[str, list[str]] = {}
    for entry in entries:
        if entry.kind == "unsupported":
            by_type.setdefault(entry.type_name, []).append(entry.name)
    if not by_type:
        return None
    found = "; ".join(
        f"type {kind!r} of {counted(len(names), 'entry', 'entries')}: {listed(names)}"
        for kind, names in list(by_type.items())[:_TYPES]
    )
    return f"not supported: {found}" + (f"; and {len(by_type) - _TYPES} more types" if len(by_type) > _TYPES else "")


def grouped(number: int) -> str:
    """Format a number with groups of three digits."""
    return f"{number:,}"


def counted(number: int, singular: str, plural: str) -> str:
    """Format a number with the right form of its noun."""
    return f"{number:,} {singular if number == 1 else plural}"


def counted_in_units(number: int, singular: str, plural: str) -> str:
    """Format a number with three digits and K, M, B or T, and with the right form of its noun."""
    return f"{human_count(number)} {singular if number == 1 else plural}"


def bytes_in_units(size: int) -> str:
    """Format a number of bytes in a readable unit, with the exact number behind it."""
    exact = counted(size, "byte", "bytes")
    return exact if size < _UNIT else f"{human_bytes(size)} ({exact})"


def prepare_streams() -> None:
    """Make stdout and stderr escape characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon(*streams: TextIO) -> None:
    """Redirect streams whose reader is gone to the null device, so that flushing them at exit does not fail."""
    for stream in streams:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
