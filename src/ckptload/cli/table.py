"""Aligned columns that adapt to the width of the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """

    title: str
    right: bool = False
    keep: int = 9
    fg: str | None = None
    dim: bool = False
    cells: list[str] = field(default_factory=list)

    def natural(self) -> int:
        """Return the width that shows every cell in full."""
        return max([text.width(self.title), *map(text.width, self.cells)])


def render(columns: list[Column], terminal: Terminal, *, marked: dict[int, str] | None = None) -> Iterator[str]:
    """Yield the lines of a table, its titles first.

    Args:
        columns: the first one has the names, which are shortened before other columns are dropped.
        terminal: gives the width and the colours.
        marked: colours of whole rows, by their number.
    """
    shown, widths = _fit(columns, terminal.width)
    mark = "…" if terminal.fancy else "..."
    names = shown[0]
    names.cells = [shorten(cell, widths[0], mark) for cell in names.cells]
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
