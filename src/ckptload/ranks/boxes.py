"""Arithmetic on boxes: parts of a tensor, given by a range of each axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: For each axis of a tensor, the start and the stop of a part of it.
Box = tuple[tuple[int, int], ...]


def full(shape: Iterable[int]) -> Box:
    """Return the box of a whole tensor."""
    return tuple((0, length) for length in shape)


def volume(box: Box) -> int:
    """Return the number of elements in a box."""
    return math.prod(stop - start for start, stop in box)


def overlap(one: Box, other: Box) -> Box | None:
    """Return what two boxes share, or None if that is nothing."""
    found = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return found if all(start < stop for start, stop in found) else None


def inside(part: Box, box: Box) -> Box:
    """Return the places of a part of a whole, counted from the start of a box that it lies in."""
    return tuple((a - start, b - start) for (a, b), (start, _) in zip(part, box, strict=True))


def cut(shape: Sequence[int], first: int, last: int, most: int) -> Iterator[Box]:
    """Cut a range of elements in C order into boxes of at most `most` elements, in their order."""
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    while first < last:
        row, at = divmod(first, inner)
        if at or last - first < inner or inner > most:
            stop = min(last, (row + 1) * inner)
            for rest in cut(shape[1:], at, stop - row * inner, most):
                yield ((row, row + 1), *rest)
        else:
            rows = min((last - first) // inner, most // inner)
            stop = first + rows * inner
            yield ((row, row + rows), *full(shape[1:]))
        first = stop


def contiguous_from(part: Box, shape: Sequence[int]) -> int:
    """Return the first axis from which on a part of an array is one run of elements, for each place before it."""
    axis = len(shape)
    while axis and part[axis - 1] == (0, shape[axis - 1]):
        axis -= 1
    return max(axis - 1, 0)


def flat(part: Box, shape: Sequence[int]) -> int:
    """Return the number of the first element of a part of an array, in C order."""
    found = 0
    for (start, _), length in zip(part, shape, strict=True):
        found = found * length + start
    return found
