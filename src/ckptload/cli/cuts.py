"""Tensors cut over devices: in numbers, and as a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ckptload.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload import SliceLayout
    from ckptload.cli.terminal import Terminal

#: What a picture has at most: lines, columns of cells, and devices.
_ROWS: Final = 32
_COLUMNS: Final = 8
_DEVICES: Final = 4096
#: Letters of the ranks in a cell.
_WIDEST: Final = 24
#: Corners and lines: the first, the middle and the last of each, for terminals that have them and for others.
_FANCY: Final = (("┌", "┬", "┐"), ("├", "┼", "┤"), ("└", "┴", "┘"), "─", "│")
_PLAIN: Final = (("+", "+", "+"), ("+", "+", "+"), ("+", "+", "+"), "-", "|")


def as_map(layout: SliceLayout) -> str:
    """Return the map as a strategy file has it: -1 for an axis that is not split."""
    return str([entry[0] if len(entry) == 1 else list(entry) or -1 for entry in layout.tensor_map])


def shards(layout: SliceLayout) -> int:
    """Return into how many parts replicas cut a slice; 1 if the file gives a number that is not possible."""
    try:
        return layout.shards
    except ArgumentError:
        return 1


def number(layout: SliceLayout) -> int:
    """Return how many different parts there are."""
    return math.prod(layout.parts) * shards(layout)


def copies(layout: SliceLayout) -> int:
    """Return how many devices hold the same part."""
    return layout.devices // number(layout)


def grid(layout: SliceLayout) -> list[int]:
    """Return the number of parts of each axis, the optimizer shard included."""
    found = list(layout.parts)
    if found:
        found[0] *= shards(layout)
    return found


def cell(layout: SliceLayout, rank: int) -> list[int]:
    """Return which part of each axis a rank of the stage holds, counted from 0."""
    if not layout.parts:
        return []
    plain = layout.even() if shards(layout) > 1 else layout.even().unsharded()
    return [part.start for part in plain.box(rank, grid(layout))]


def held_by(layout: SliceLayout, rank: int) -> Sequence[int]:
    """Return the ranks of the stage that hold the same part as a rank of it, that among them."""
    plain = layout if shards(layout) > 1 else layout.unsharded()
    return plain.replicas(rank)[plain.shard_of(rank) :: plain.shards]


def as_ranges(ranks: Iterable[int]) -> str:
    """Return ascending ranks in a short form, such as ``0-3, 8``."""
    found: list[list[int]] = []
    for rank in ranks:
        if found and found[-1][1] == rank - 1:
            found[-1][1] = rank
        else:
            found.append([rank, rank])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def can_be_drawn(layout: SliceLayout) -> bool:
    """Tell whether a picture would not be too large."""
    rows, columns = _size(layout)
    return rows <= _ROWS and columns <= _COLUMNS and layout.devices <= _DEVICES


def draw(layout: SliceLayout, first: int, marked: int | None, terminal: Terminal) -> Iterator[str]:
    """Yield the lines of a picture: axis 0 from top to bottom, all others from left to right.

    Args:
        layout: of the tensor; `can_be_drawn`.
        first: the first rank of the stage.
        marked: a rank whose part is highlighted, or None.
        terminal: says which characters can be shown.
    """
    holders: dict[tuple[int, int], list[int]] = {}
    for rank in range(layout.devices):
        at, *rest = cell(layout, rank) or [0]
        column = 0
        for index, parts in zip(rest, layout.parts[1:], strict=True):
            column = column * parts + index
        holders.setdefault((at, column), []).append(first + rank)
    rows, columns = _size(layout)
    cells = [[_shortened(as_ranges(holders[row, column])) for column in range(columns)] for row in range(rows)]
    own = next((place for place, ranks in holders.items() if marked in ranks), None)
    yield from _framed(cells, own, terminal)


def _framed(cells: Sequence[Sequence[str]], own: tuple[int, int] | None, terminal: Terminal) -> Iterator[str]:
    top, middle, bottom, line, side = _FANCY if terminal.fancy else _PLAIN
    width = max(len(each) for row in cells for each in row)

    def rule(ends: tuple[str, str, str]) -> str:
        return "  " + ends[0] + ends[1].join(line * (width + 2) for _ in cells[0]) + ends[2]

    yield rule(top)
    for number_of_row, row in enumerate(cells):
        if number_of_row:
            yield rule(middle)
        padded = []
        for at, each in enumerate(row):
            is_own = own == (number_of_row, at)
            padded.append(terminal.style(f" {each:{width}} ", fg="green" if is_own else None, bold=is_own))
        yield f"  {side}{side.join(padded)}{side}"
    yield rule(bottom)


def _size(layout: SliceLayout) -> tuple[int, int]:
    rows, *rest = grid(layout) or [1]
    return rows, math.prod(rest)


def _shortened(ranks: str) -> str:
    return ranks if len(ranks) <= _WIDEST else ranks[: _WIDEST - 3] + "..."
