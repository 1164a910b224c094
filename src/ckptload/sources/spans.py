"""Group the spans that are read together: neighbours by one call, and batches that bound memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Thing = TypeVar("Thing")


def neighbours(
    things: Iterable[Thing], span: Callable[[Thing], tuple[int, int]], *, gap: int, most: int, count: int | None = None
) -> Iterator[list[Thing]]:
    """Yield things whose spans lie close together, so that one read covers them.

    Args:
        things: what to group, in ascending order of their spans.
        span: returns where a thing starts and stops, in bytes.
        gap: largest distance between two neighbours, in bytes.
        most: largest distance from the first start to the last stop, in bytes; a larger thing is yielded alone.
        count: largest number of things in a list; None for any.
    """
    group: list[Thing] = []
    begin = end = 0
    for thing in things:
        start, stop = span(thing)
        near = 0 <= start - end <= gap and stop - begin <= most
        if group and not (near and (count is None or len(group) < count)):
            yield group
            group = []
        if not group:
            begin = start
        group.append(thing)
        end = stop
    if group:
        yield group


def batches(things: Iterable[Thing], size: Callable[[Thing], int], most: int) -> Iterator[list[Thing]]:
    """Yield consecutive things of at most `most` bytes together; a larger one is yielded alone."""
    batch: list[Thing] = []
    held = 0
    for thing in things:
        more = size(thing)
        if batch and held + more > most:
            yield batch
            batch, held = [], 0
        batch.append(thing)
        held += more
    if batch:
        yield batch
