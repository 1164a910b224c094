"""Who holds the same, and who writes it."""

from __future__ import annotations

import pytest

from ckptload import ArgumentError, ArgumentTypeError, SliceLayout
from ckptload.ranks import redundancy

LAYOUTS = {
    "w": SliceLayout([2, 2], [0, -1]),
    "b": SliceLayout([2, 2], [-1]),
    "opt": SliceLayout([2, 2], [0, -1], shard=-1),
    "odd": SliceLayout([2, 2], [-1], shard=3),
    "a": SliceLayout([2, 2], [1, 0]),
}


def test_groups_are_in_the_order_of_names_and_slices() -> None:
    found = redundancy.groups(LAYOUTS, 8)
    assert list(found) == ["a", "b", "odd", "opt", "w"]
    assert found["w"] == [(8, 10), (9, 11)]
    assert found["b"] == [(8, 9, 10, 11)]
    assert found["opt"] == [(8,), (10,), (9,), (11,)]
    # The coordinate along the last device axis comes first.
    assert found["a"] == [(8,), (10,), (9,), (11,)]


def test_a_shard_that_does_not_divide_leaves_no_groups() -> None:
    assert redundancy.groups(LAYOUTS)["odd"] == []


def test_shares_deal_the_names_of_each_group_out_in_turn() -> None:
    groups = {name: [(0, 1, 2)] for name in "abcd"} | {"own": [(0,), (1,), (2,)]}
    assert redundancy.shares(groups) == {0: {"a", "d", "own"}, 1: {"b", "own"}, 2: {"c", "own"}}


def test_more_copies_go_to_the_next_ranks() -> None:
    groups = {name: [(0, 1, 2)] for name in "ab"}
    assert redundancy.shares(groups, 2) == {0: {"a"}, 1: {"a", "b"}, 2: {"b"}}
    assert redundancy.shares(groups, 9) == {0: {"a", "b"}, 1: {"a", "b"}, 2: {"a", "b"}}


def test_numbers_of_copies_are_checked() -> None:
    with pytest.raises(ArgumentError, match="at least 1, not 0"):
        redundancy.shares({}, 0)
    with pytest.raises(ArgumentTypeError):
        redundancy.shares({}, "1")  # type: ignore[arg-type]
