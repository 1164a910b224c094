"""What `report` shows of each name in one, two or more checkpoints: statistics, histograms, differences."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptload.cli import pieces, stats
from ckptload.cli.diff import Distance, same_values
from ckptload.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload import Entry, Reader
    from ckptload.cli.listing import Listing, Row
    from ckptload.cli.stats import Histogram, Stats
    from ckptload.cli.terminal import Terminal


class File(NamedTuple):
    """A checkpoint that is open, and its listing."""

    reader: Reader
    listing: Listing


@dataclass
class Side:
    """A name in one file."""

    row: Row
    stats: Stats | None = None
    histogram: Histogram | None = None


@dataclass
class Name:
    """A name in several files.

    Attributes:
        sides: one for each file, the earliest first; None where the file does not have the name.
        distances: of each file but the first, the differences from the first; None where there is nothing to compare.
    """

    name: str
    sides: list[Side | None]
    distances: list[Distance | None] = field(default_factory=list)

    def status(self) -> str:
        """Return the change since the first file: added, removed, changed or same.

        A name that the last file does not have was removed, and one that only the first does not have was added.
        """
        first = self.sides[0]
        if first is None:
            return "added"
        if self.sides[-1] is None:
            return "removed"
        later = zip(self.sides[1:], self.distances, strict=True)
        return "changed" if any(_changed(first, side, distance) for side, distance in later) else "same"


def norm(found: Stats) -> float | None:
    """Return the L2 norm of a tensor's finite elements."""
    if found.mean is None or found.std is None:
        return None
    return math.hypot(found.std, found.mean) * math.sqrt(found.finite)


class Measuring:
    """Statistics and histograms of tensors, which are read one at a time or a few small ones at once.

    Of several files only the first and one more are open at a time.
    """

    def __init__(self, first: File, terminal: Terminal) -> None:
        self._first = first
        self._terminal = terminal
        self._names = {row.name: Name(row.name, [Side(row)]) for row in first.listing.rows}
        self._count = 1

    def add(self, other: File, *, last: bool) -> None:
        """Measure a later file and compare it with the first; the last one has histograms, like the first."""
        rows = {row.name: row for row in other.listing.rows}
        for name in rows:
            if name not in self._names:
                self._names[name] = Name(name, [None] * self._count, [None] * (self._count - 1))
        self._count += 1
        for name, found in self._names.items():
            found.sides.append(Side(rows[name]) if name in rows else None)
            found.distances.append(None)
        both = [found for found in self._names.values() if _alike(found)]
        together = {found.name for found in both}
        alone = [(found.name, found.sides[-1]) for found in self._names.values() if found.name not in together]
        work = other.listing.nbytes + sum(_nbytes(found.sides[0]) for found in both)
        with Progress(self._terminal, "measuring", work) as progress:
            self._alone(other.reader, alone, progress, histograms=last)
            self._together(other.reader, both, progress, histograms=last)
        for found in self._names.values():
            if _untyped(found):
                found.distances[-1] = self._compare_whole(found, other.reader)

    def result(self) -> list[Name]:
        """Measure what of the first file no other one was compared with, and return all names, its own first."""
        sides = [
            (found.name, side) for found in self._names.values() if (side := found.sides[0]) and side.histogram is None
        ]
        with Progress(self._terminal, "measuring", sum(_nbytes(side) for _, side in sides)) as progress:
            self._alone(self._first.reader, sides, progress, histograms=True)
        return list(self._names.values())

    def _alone(
        self, reader: Reader, sides: Iterable[tuple[str, Side | None]], progress: Progress, *, histograms: bool
    ) -> None:
        by_name = {name: side for name, side in sides if side is not None}
        entries = [
            side.row.entry
            for side in by_name.values()
            if side.row.entry is not None and side.row.entry.dtype is not None
        ]
        for entry, arrays in pieces.of_tensors(reader, entries):
            side = by_name[entry.name]
            held = list(arrays) if entry.nbytes <= pieces.PIECE else None
            side.stats = stats.of(entry.dtype, arrays if held is None else held)
            if histograms and side.stats is not None and side.stats.min is not None and side.stats.max is not None:
                side.histogram = stats.Histogram(side.stats.min, side.stats.max)
                for array in pieces.of_tensor(reader, entry) if held is None else held:
                    side.histogram.add(array)
            progress.advance(entry.nbytes)

    def _together(self, other: Reader, names: list[Name], progress: Progress, *, histograms: bool) -> None:
        """Measure tensors that both files have in one shape, with histograms over a common range."""
        by_name = {found.name: found for found in names}
        for (one, two), arrays in pieces.of_pairs(self._first.reader, other, [_entries(found) for found in names]):
            found = by_name[one.name]
            held = list(arrays) if max(one.nbytes, two.nbytes) <= pieces.PIECE else None
            distance, left, right = Distance(0, 0), stats.Stats(), stats.Stats()
            for a, b in arrays if held is None else held:
                left.add(a)
                right.add(b)
                distance.add(a, b)
            first, last = found.sides[0], found.sides[-1]
            if first is not None and last is not None:
                first.stats, last.stats = left, right
                if histograms:
                    again = pieces.of_pair(self._first.reader, other, one, two) if held is None else iter(held)
                    _fill(first, last, again)
            found.distances[-1] = distance
            progress.advance(one.nbytes + two.nbytes)

    def _compare_whole(self, found: Name, other: Reader) -> Distance:
        """Compare two strings, maps, random states or tensors of one unsupported type, as if each had one element."""
        one, two = _entries(found)
        distance = Distance(0, 0, count=1)
        distance.changed = int(not same_values(self._first.reader, one, other, two))
        return distance


def _changed(first: Side, later: Side | None, distance: Distance | None) -> bool:
    if later is None:
        return True
    one, two = first.row.entry, later.row.entry
    if one is None or two is None or _look(one) != _look(two):
        return True
    return distance.changed > 0 if distance is not None else first.row.value != later.row.value


def _look(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.dtype, entry.type_name, entry.shape


def _nbytes(side: Side | None) -> int:
    return side.row.nbytes if side is not None else 0


def _entries(found: Name) -> tuple[Any, Any]:
    """Return the entries in the first file and in the last one so far."""
    one, two = found.sides[0], found.sides[-1]
    return (one.row.entry if one is not None else None), (two.row.entry if two is not None else None)


def _alike(found: Name) -> bool:
    """Tell whether both files have a tensor of one shape whose elements are numbers."""
    entries = _entries(found)
    if any(entry is None or entry.dtype is None or entry.dtype in stats.OPAQUE for entry in entries):
        return False
    return bool(entries[0].shape == entries[1].shape)


def _untyped(found: Name) -> bool:
    one, two = _entries(found)
    return (
        one is not None
        and two is not None
        and one.kind == two.kind
        and (one.dtype is None or one.dtype in stats.OPAQUE)
        and one.dtype is two.dtype
        and one.type_name == two.type_name
    )


def _fill(first: Side, last: Side, arrays: Iterator[tuple[Any, Any]]) -> None:
    both = [side.stats for side in (first, last) if side.stats is not None]
    lows = [found.min for found in both if found.min is not None]
    highs = [found.max for found in both if found.max is not None]
    if not lows:
        return
    left, right = stats.Histogram(min(lows), max(highs)), stats.Histogram(min(lows), max(highs))
    for a, b in arrays:
        left.add(a)
        right.add(b)
    first.histogram, last.histogram = left, right
