"""Plaintext that is kept up to a limit, and what was read before a tag, compared whatever the pieces."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.encryption.cache import Kept, Seen
from ckptload.errors import ClosedReaderError

if TYPE_CHECKING:
    from collections.abc import Callable


def plain(number: int) -> memoryview:
    return memoryview(bytes([number]))


def filled(most: int, number: int) -> Kept:
    """Return a cache after pieces (0, 0), (0, 1) and so on, each put by a call of its own."""
    kept = Kept(most, "the file")
    for at in range(number):
        kept.put([((0, at), plain(at))])
    return kept


def held(kept: Kept, number: int) -> list[int]:
    """Return which of the pieces are there; asking makes them recent."""
    return [at for at in range(number) if kept.get((0, at)) is not None]


# -- what is kept -----------------------------------------------------------------------------------------------


def test_a_piece_is_given_back_without_a_copy() -> None:
    kept, content = Kept(2, "the file"), plain(7)
    kept.put([((3, 4), content)])
    assert kept.get((3, 4)) is content
    assert kept.get((4, 3)) is None


def test_the_piece_that_was_used_longest_ago_is_dropped_first() -> None:
    assert held(filled(3, 5), 5) == [2, 3, 4]
    kept = filled(3, 3)
    kept.get((0, 0))
    kept.put([((0, 3), plain(3))])
    assert held(kept, 4) == [0, 2, 3]


def test_of_more_pieces_than_fit_the_last_are_kept() -> None:
    kept = Kept(2, "the file")
    kept.put([((0, at), plain(at)) for at in range(5)])
    assert held(kept, 5) == [3, 4]


def test_asking_for_what_is_missing_drops_nothing() -> None:
    kept = filled(3, 3)
    assert kept.get((9, 9)) is None
    kept.put([])
    assert held(kept, 3) == [0, 1, 2]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 4))
def test_any_sequence_of_uses_keeps_the_most_recent(uses: list[int], most: int) -> None:
    """As a list would in which a piece moves to the end each time it is used."""
    kept = Kept(most, "the file")
    model: list[int] = []
    for at in uses:
        found = kept.get((0, at))
        assert (found is not None) == (at in model)
        if found is None:
            kept.put([((0, at), plain(at))])
        else:
            assert bytes(found) == bytes([at])
            model.remove(at)
        model = [*model, at][-most:]


def test_threads_may_use_it_at_once() -> None:
    kept = Kept(4, "the file")

    def work(first: int) -> bool:
        sound = True
        for at in range(first, first + 500):
            kept.put([((0, at % 7), plain(at % 7))])
            found = kept.get((0, (at + 3) % 7))
            sound &= found is None or bytes(found) == bytes([(at + 3) % 7])
        return sound

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert len(held(kept, 7)) == 4


def test_a_closed_cache_holds_nothing_and_takes_nothing() -> None:
    kept = filled(3, 3)
    kept.close()
    kept.close()
    uses: list[Callable[[], object]] = [
        lambda: kept.get((0, 0)),
        lambda: kept.put([((0, 0), plain(0))]),
        lambda: kept.put([]),
    ]
    for use in uses:
        with pytest.raises(ClosedReaderError) as caught:
            use()
        assert caught.value.path == "the file"
    assert kept._pieces is None


# -- what was seen ----------------------------------------------------------------------------------------------

CONTENT = bytes(range(100))


def compared(spans: list[tuple[int, bytes]], borders: list[int], content: bytes = CONTENT) -> bool:
    """Compare with content that comes in pieces."""
    seen = Seen(spans)
    for start, stop in itertools.pairwise([0, *sorted(borders), len(content)]):
        seen.compare(start, memoryview(content)[start:stop])
    assert not seen._spans
    return seen.was_true


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    ends = st.integers(0, len(CONTENT))
    pairs = draw(st.lists(st.tuples(ends, ends).map(sorted), max_size=6))
    return [(start, CONTENT[start:stop]) for start, stop in pairs if start < stop]


@given(spans(), st.lists(st.integers(0, 100), max_size=6))
def test_what_was_read_is_true_whatever_the_pieces(parts: list[tuple[int, bytes]], borders: list[int]) -> None:
    """In any order, overlapping, and across any number of borders."""
    assert compared(parts, borders)


@given(spans(), st.lists(st.integers(0, 100), max_size=6), st.integers(0, 99), st.integers(1, 255))
def test_any_other_byte_that_was_read_is_noticed(
    parts: list[tuple[int, bytes]], borders: list[int], at: int, flip: int
) -> None:
    """And one that nobody read is none of its business."""
    content = bytearray(CONTENT)
    content[at] ^= flip
    was_read = any(start <= at < start + len(part) for start, part in parts)
    assert compared(parts, borders, bytes(content)) == (not was_read)


def test_a_difference_stays_one_after_pieces_that_are_true() -> None:
    seen = Seen([(0, b"x"), (50, CONTENT[50:60])])
    seen.compare(0, memoryview(CONTENT)[:50])
    assert not seen.was_true
    seen.compare(50, memoryview(CONTENT)[50:])
    assert not seen.was_true


def test_where_nothing_was_read_nothing_is_compared() -> None:
    assert compared([], [])
    assert Seen([]).was_true
