"""What is read together: neighbours that one read covers, and batches that bound memory."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.sources.spans import batches, neighbours

Span = tuple[int, int]


def span(thing: Span) -> Span:
    return thing


def grouped(things: list[Span], *, gap: int = 10, most: int = 100, count: int | None = None) -> list[list[Span]]:
    return list(neighbours(things, span, gap=gap, most=most, count=count))


def size(thing: int) -> int:
    return thing


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """Spans in ascending order; some are empty, some overlap, and some are the same."""
    starts = sorted(draw(st.lists(st.integers(0, 60), max_size=20)))
    return [(start, start + draw(st.integers(0, 12))) for start in starts]


# -- neighbours -------------------------------------------------------------------------------------------------


@given(spans(), st.integers(0, 5), st.integers(0, 30), st.none() | st.integers(1, 4))
def test_groups_keep_all_limits_and_none_could_be_longer(
    things: list[Span], gap: int, most: int, limit: int | None
) -> None:
    groups = grouped(things, gap=gap, most=most, count=limit)
    assert [thing for group in groups for thing in group] == things

    def allowed(group: list[Span]) -> bool:
        gaps = [start - stop for (_, stop), (start, _) in pairwise(group)]
        near = all(0 <= distance <= gap for distance in gaps) and group[-1][1] - group[0][0] <= most
        return len(group) == 1 or (near and (limit is None or len(group) <= limit))

    assert all(map(allowed, groups))
    assert not any(allowed([*group, following[0]]) for group, following in pairwise(groups))


@pytest.mark.parametrize(("start", "number"), [(20, 1), (30, 1), (31, 2)])
def test_neighbours_are_at_most_the_gap_apart(start: int, number: int) -> None:
    assert len(grouped([(10, 20), (start, start + 5)], gap=10)) == number


@pytest.mark.parametrize(("stop", "number"), [(109, 1), (110, 1), (111, 2)])
def test_the_extent_of_a_group_is_limited_from_its_first_byte(stop: int, number: int) -> None:
    assert len(grouped([(10, 20), (20, stop)], most=100)) == number


def test_the_extent_of_a_later_group_begins_with_its_own_first_thing() -> None:
    things = [(at, at + 50) for at in range(0, 300, 50)]
    assert [len(group) for group in grouped(things, most=100)] == [2, 2, 2]


@pytest.mark.parametrize(("limit", "lengths"), [(None, [7]), (1, [1] * 7), (3, [3, 3, 1]), (7, [7])])
def test_the_length_of_a_group_is_limited(limit: int | None, lengths: list[int]) -> None:
    assert [len(group) for group in grouped([(at, at + 1) for at in range(7)], count=limit)] == lengths


def test_what_is_larger_than_a_group_stands_alone() -> None:
    things = [(0, 5), (5, 500), (500, 505), (505, 510)]
    assert grouped(things) == [[(0, 5)], [(5, 500)], [(500, 505), (505, 510)]]


@pytest.mark.parametrize("other", [(9, 20), (0, 10), (2, 3)], ids=str)
def test_spans_that_overlap_are_not_read_together(other: Span) -> None:
    """No single call could fill their buffers one after another."""
    assert grouped([(0, 10), other]) == [[(0, 10)], [other]]


def test_the_first_thing_may_begin_anywhere() -> None:
    """It follows nothing, so that its distance from the start of the file does not count."""
    assert grouped([(1000, 1001), (1001, 1002)]) == [[(1000, 1001), (1001, 1002)]]


def test_things_are_grouped_while_they_are_found() -> None:
    endless = neighbours(((at, at + 1) for at in itertools.count(5)), span, gap=0, most=2)
    assert next(endless) == [(5, 6), (6, 7)]
    assert next(endless) == [(7, 8), (8, 9)]


# -- batches ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), max_size=20), st.integers(0, 20))
def test_batches_keep_the_limit_and_none_could_be_longer(sizes: list[int], most: int) -> None:
    made = list(batches(sizes, size, most))
    assert [thing for batch in made for thing in batch] == sizes
    assert all(len(batch) == 1 or sum(batch) <= most for batch in made)
    assert all(sum(batch) + following[0] > most for batch, following in pairwise(made))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([4, 6], [[4, 6]]),
        ([4, 7], [[4], [7]]),
        ([4, 6, 1, 9, 1], [[4, 6], [1, 9], [1]]),
        ([1, 11, 1, 1], [[1], [11], [1, 1]]),
        ([11, 12], [[11], [12]]),
        ([0, 0, 0], [[0, 0, 0]]),
    ],
)
def test_a_batch_ends_where_the_next_thing_would_be_too_much(sizes: list[int], expected: list[list[int]]) -> None:
    assert list(batches(sizes, size, 10)) == expected


def test_a_size_is_asked_for_once() -> None:
    """It may be computed from the thing."""
    asked: list[int] = []

    def counting(thing: int) -> int:
        asked.append(thing)
        return thing

    assert list(batches([4, 7, 11, 1], counting, 10)) == [[4], [7], [11], [1]]
    assert asked == [4, 7, 11, 1]


def test_a_batch_is_given_before_the_rest_is_asked_for() -> None:
    """What follows need not be in memory yet."""
    endless = batches(itertools.count(3), size, 10)
    assert next(endless) == [3, 4]
    assert next(endless) == [5]
