"""Aligned columns that adapt to the width of the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from ckptload.cli import text
from ckptload.cli.terminal import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.cli.terminal import Terminal

_GAP: Final = 2
#: Columns up to this importance are dropped before a name is shortened, if that shows the name in full.
ORNAMENT: Final = 3
#: Cells are not padded to more columns than this. A name may have 65 536 letters, and every line would be as long.
_WIDEST: Final = 256
#: A name that is shortened to less than this is not useful.
_NARROWEST_NAME: Final = 12
#: Columns of this importance and above were asked for: names are shortened to the narrowest before one is dropped.
ASKED: Final = 10
#: The part of a terminal that names take before other columns are dropped.
_SHARE_OF_NAMES: Final = 3
#: Parts of a shortened name that are its end, the usual one first, and names by which one is chosen.
_TAILS: Final = (2 / 3, 1 / 3, 1 / 2, 5 / 6)
_COMPARED: Final = 500


@dataclass
class Column:
    """One column.

    Attributes:
        title: its heading.
        right: whether its cells are aligned to the right.
        keep: its importance: in a narrow terminal, columns with small numbers are dropped first.
        fg: its colour.
        dim: whether it is dimmed.
        cells: its text, already safe for the terminal.
        leads: in the column of names, what stands before each and is not shortened, such as the lines of a tree.
    """

    title: str
    right: bool = False
    keep: int = 9
    fg: str | None = None
    dim: bool = False
    cells: list[str] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)

    def natural(self) -> int:
        """Return the width that shows every cell in full."""
        leads = self.leads or [""] * len(self.cells)
        cells = (text.width(lead) + text.width(cell) for lead, cell in zip(leads, self.cells, strict=True))
        return max([text.width(self.title), *cells])

    def shorten(self, columns: int, mark: str) -> None:
        """Shorten the cells of a column of names, in the way in which the fewest become equal.

        What all of them begin with may be left out, too.
        """
        leads = self.leads or [""] * len(self.cells)
        rooms = [max(columns - text.width(lead), 1) for lead in leads]
        known = list(zip(self.cells, rooms, strict=True))
        begin = "" if self.leads else _common(self.cells)

        def one(cell: str, room: int, without: str, tail: float) -> str:
            if without and text.width(cell) > room:
                cell = mark + cell[len(without) :]
            return shorten(cell, room, mark, tail)

        best = ("", _TAILS[0])
        if self.natural() > columns:
            ways = [(without, tail) for without in dict.fromkeys(("", begin)) for tail in _TAILS]
            best = max(ways, key=lambda way: len({one(*each, *way) for each in known[:_COMPARED]}))
        self.cells = [lead + one(*each, *best) for lead, each in zip(leads, known, strict=True)]


def _common(names: list[str]) -> str:
    """Return what all names begin with, up to a dot and with it."""
    first, last = min(names, default=""), max(names, default="")
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    begin, dot, _ = "".join(character for character, _ in same).rpartition(".")
    return begin + dot


def render(columns: list[Column], terminal: Terminal, *, marked: dict[int, str] | None = None) -> Iterator[str]:
    """Yield the lines of a table, its titles first.

    Args:
        columns: the first one has the names, which are shortened before other columns are dropped.
        terminal: gives the width and the colours.
        marked: colours of whole rows, by their number.
    """
    shown, widths = _fit(columns, terminal.width)
    mark = "…" if terminal.fancy else "..."
    shown[0].shorten(widths[0], mark)
    yield terminal.style(_line([column.title for column in shown], shown, widths), dim=True)
    for number, cells in enumerate(zip(*(column.cells for column in shown), strict=True)):
        color = (marked or {}).get(number)
        if not terminal.color:
            yield _line(cells, shown, widths)
        elif color is not None:
            yield terminal.style(_line(cells, shown, widths), fg=color)
        else:
            yield _line(cells, shown, widths, terminal)


def _fit(columns: list[Column], width: int | None) -> tuple[list[Column], list[int]]:
    """Choose the columns that fit, and the width of each."""
    shown = [column for column in columns if any(column.cells) or column is columns[0]]
    natural = {id(column): column.natural() for column in shown}

    def room(some: list[Column]) -> int:
        """Return the width that is left for the names."""
        others = sum(natural[id(column)] for column in some[1:]) + _GAP * (len(some) - 1)
        return natural[id(some[0])] if width is None else width - others

    wanted = natural[id(shown[0])]
    without_ornaments = [column for column in shown if column.keep > ORNAMENT]
    if room(shown) < wanted <= room(without_ornaments):
        while room(shown) < wanted:
            shown = _without_least(shown)
    enough = min(wanted, max((width or 0) // _SHARE_OF_NAMES, _NARROWEST_NAME))
    while room(shown) < enough and any(column.keep < ASKED for column in shown[1:]):
        shown = _without_least(shown)
    while room(shown) < min(wanted, _NARROWEST_NAME) and len(shown) > 1:
        shown = _without_least(shown)
    return shown, [max(min(wanted, room(shown)), 1), *(natural[id(column)] for column in shown[1:])]


def _without_least(columns: list[Column]) -> list[Column]:
    least = min(columns[1:], key=lambda column: column.keep)
    return [column for column in columns if column is not least]


def _line(
    cells: list[str] | tuple[str, ...], columns: list[Column], widths: list[int], terminal: Terminal | None = None
) -> str:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        padding = " " * (min(width, _WIDEST) - text.width(cell))
        shown = cell if terminal is None else terminal.style(cell, fg=column.fg, dim=column.dim)
        parts.append(padding + shown if column.right else shown + padding)
    return (" " * _GAP).join(parts).rstrip()
