"""Output to stdout and stderr: its width, its colours, and the characters that it can show."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TextIO

import click

from ckptload.cli import text
from ckptload.shown import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.errors import CheckpointError

Color = Literal["auto", "always", "never"]

#: Minimum width: some terminals report 0 columns.
_NARROWEST: Final = 20
#: Characters to write at a time.
_WRITE: Final = 16384


def _may_color(stream: TextIO, wanted: Color) -> bool:
    if wanted != "auto":
        return wanted == "always"
    # https://no-color.org
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _width_of(stream: TextIO) -> int | None:
    """Return the columns of a terminal; None if the stream is not one."""
    return max(shutil.get_terminal_size().columns, _NARROWEST) if stream.isatty() else None


@dataclass
class Terminal:
    """The properties of stdout and stderr; all commands write through it.

    Attributes:
        quiet: whether to write only errors and the requested output.
        debug: whether to show the traceback of an error.
        color: whether stdout is coloured.
        width: columns of stdout, or None if lines may have any length.
        fancy: whether stdout can show box-drawing characters.
    """

    quiet: bool = False
    debug: bool = False
    wanted: Color = "auto"
    color: bool = field(init=False)
    width: int | None = field(init=False)
    fancy: bool = field(init=False)
    _encoding: str = field(init=False)

    def __post_init__(self) -> None:
        self.color = _may_color(sys.stdout, self.wanted)
        self.width = _width_of(sys.stdout)
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        try:
            "├─│└█…·".encode(self._encoding)
            self.fancy = True
        except (UnicodeEncodeError, LookupError):
            self.fancy = False

    def show(self, raw: str) -> str:
        """Escape characters in untrusted text that could control the terminal or that it cannot show."""
        shown = printable(raw)
        if shown.isascii():
            return shown
        return shown.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def style(self, shown: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
        """Colour a text, if stdout is coloured."""
        return click.style(shown, fg=fg, bold=bold or None, dim=dim or None) if self.color else shown

    def fits(self, line: str) -> bool:
        """Tell whether a line without colours is no wider than the terminal."""
        return self.width is None or text.width(line) <= self.width

    def wrap(self, line: str, indent: str = "  ") -> list[str]:
        """Break a line between words if it is wider than the terminal.

        Args:
            line: the text, without colours.
            indent: what begins the second line and each one after it.
        """
        return _wrapped(line, indent, self.width)

    def write(self, lines: Iterable[str]) -> None:
        """Write lines to stdout, many at a time.

        Not all at once: if Python's output is unbuffered, one large write to a pipe that is closed meanwhile is cut
        short without an error.
        """
        held, size = [], 0
        for line in lines:
            held.append(line)
            size += len(line)
            if size > _WRITE:
                click.echo("\n".join(held), color=self.color)
                held, size = [], 0
        if held:
            click.echo("\n".join(held), color=self.color)

    def say(self, *lines: str) -> None:
        """Write notes and warnings to stderr, unless `quiet`."""
        if not self.quiet:
            self._to_stderr(lines)

    def complain(self, error: CheckpointError, path: str | None = None) -> int:
        """Write an error to stderr; return its exit code."""
        self._to_stderr(text.error_lines(error, path))
        return text.exit_code(error)

    def _to_stderr(self, lines: Sequence[str]) -> None:
        sys.stdout.flush()
        color = _may_color(sys.stderr, self.wanted)
        width = _width_of(sys.stderr)
        for line in lines:
            hinted = line.startswith("  hint:")
            for part in _wrapped(line, "    ", width):
                click.echo(click.style(part, dim=True) if hinted and color else part, err=True, color=color)


def _wrapped(line: str, indent: str, width: int | None) -> list[str]:
    if width is None or text.width(line) <= width:
        return [line]
    lines = [line[: len(line) - len(line.lstrip())]]
    for word in line.split():
        last = lines[-1]
        if last.strip() and text.width(last) + 1 + text.width(word) > width:
            lines.append(indent + word)
        else:
            lines[-1] = f"{last} {word}" if last.strip() else last + word
    return lines


def shorten(shown: str, columns: int, mark: str, end: float = 2 / 3) -> str:
    """Shorten a text to a number of columns in the middle, because both ends of a name matter most.

    Args:
        shown: the text.
        columns: the number of columns.
        mark: what stands for the middle.
        end: the part of what is left that is the end of the text.
    """
    if text.width(shown) <= columns:
        return shown
    room = max(columns - text.width(mark), 2)
    tail = int(room * end)
    return _columns(shown, room - tail) + mark + _columns(shown[::-1], tail)[::-1]


def _columns(shown: str, columns: int) -> str:
    """Return the longest prefix of a text that fits a number of columns."""
    taken = 0
    for at, character in enumerate(shown):
        taken += text.width(character)
        if taken > columns:
            return shown[:at]
    return shown
