"""Where output goes: how wide it may be, whether it may be coloured, which characters it can show."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TextIO

import click

from ckptload.cli import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.errors import CheckpointError

Color = Literal["auto", "always", "never"]

#: Below this a terminal's answer is not believed: some report 0 columns.
_NARROWEST: Final = 20
#: Characters that are written at a time.
_WRITE: Final = 16384


def _may_color(stream: TextIO, wanted: Color) -> bool:
    if wanted != "auto":
        return wanted == "always"
    # https://no-color.org
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@dataclass
class Terminal:
    """What is known of stdout and stderr, and the only way that commands write to them.

    Attributes:
        quiet: only errors, and what was asked for, are written.
        debug: errors come with their traceback.
        color: whether stdout is coloured.
        width: columns of stdout, or None where lines may be of any length.
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
        self.width = max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else None
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        try:
            "├─│└█…·".encode(self._encoding)
            self.fancy = True
        except (UnicodeEncodeError, LookupError):
            self.fancy = False

    def show(self, raw: str) -> str:
        """Make text from outside fit to be written: nothing that steers the terminal, nothing it cannot show."""
        shown = text.printable(raw)
        if shown.isascii():
            return shown
        return shown.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def style(self, shown: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
        """Colour a text, if stdout is coloured."""
        return click.style(shown, fg=fg, bold=bold or None, dim=dim or None) if self.color else shown

    def write(self, lines: Iterable[str]) -> None:
        """Write lines to stdout, many at a time.

        Not all at once: where Python's output is unbuffered, one large write to a pipe whose reader goes
        away is cut short without an error.
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
        """Write what a person may want to know, but nobody asked for, to stderr."""
        if not self.quiet:
            self._to_stderr(lines)

    def complain(self, error: CheckpointError, path: str | None = None) -> int:
        """Write an error to stderr; return its exit code."""
        self._to_stderr(text.error_lines(error, path))
        return text.exit_code(error)

    def _to_stderr(self, lines: Sequence[str]) -> None:
        sys.stdout.flush()
        color = _may_color(sys.stderr, self.wanted)
        for line in lines:
            hinted = line.startswith("  hint:")
            shown = click.style(line, dim=True) if hinted else line
            click.echo(shown if color else line, err=True, color=color)


def shorten(shown: str, columns: int, mark: str) -> str:
    """Cut the middle out of a text so that it takes at most so many columns: both ends of a name tell most."""
    if text.width(shown) <= columns:
        return shown
    room = max(columns - text.width(mark), 2)
    tail = room * 2 // 3
    return _columns(shown, room - tail) + mark + _columns(shown[::-1], tail)[::-1]


def _columns(shown: str, columns: int) -> str:
    """Return the longest beginning of a text that takes at most so many columns."""
    taken = 0
    for at, character in enumerate(shown):
        taken += text.width(character)
        if taken > columns:
            return shown[:at]
    return shown
