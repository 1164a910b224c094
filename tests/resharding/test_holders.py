"""`rank_list_for_transform`: as few rank files as will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import SliceLayout, Strategy, open_distributed, rank_list_for_transform
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from rank_sets import ranks, source, strategy

if TYPE_CHECKING:
    from pathlib import Path


def one(*arguments: Any, **options: Any) -> Strategy:
    return Strategy([{"w": SliceLayout(*arguments, **options)}])


@pytest.mark.parametrize(
    ("old", "new", "rank", "wanted"),
    [
        (None, None, 0, [0]),
        (one([4], [0, -1]), None, 0, [0, 1, 2, 3]),
        (one([2, 2], [0, -1]), None, 0, [0, 1]),
        (one([4], [0, -1]), one([2], [0, -1]), 1, [2, 3]),
        (one([4], [0, -1]), one([8], [0, -1]), 5, [2]),
        (one([6], [0, -1]), one([4], [0, -1]), 1, [1, 2]),
        (one([4], [0, -1]), one([4], [-1, 0]), 2, [0, 1, 2, 3]),
        (one([2, 2], [[1, 0], []]), one([2], [0]), 1, [2, 3]),
        (one([4], [-1, -1], shard=-1), one([2], [0, -1]), 0, [0, 1]),
        (one([2, 2], [-1, -1]), one([2], [0, -1]), 1, [0]),
        (one([4], [0, -1]), one([4], [0, -1], shard=0, split=(1, 2, 3, 4)), 0, [0, 1, 2, 3]),
        (one([4], [0], expanded=(8,)), one([2], [0]), 1, [0, 1, 2, 3]),
        (one([2], [-1, 0]), Strategy([{"other": SliceLayout([2], [0])}]), 1, [0]),
    ],
)
def test_ranks_that_hold_what_is_needed(old: Any, new: Any, rank: int, wanted: list[int]) -> None:
    assert rank_list_for_transform(rank, old, new) == wanted


def test_stages_count_on() -> None:
    layout = SliceLayout([2], [0, -1])
    old = Strategy([{"a": layout, "shared": layout}, {"b": layout, "shared": layout}])
    assert rank_list_for_transform(0, old, Strategy([{"b": SliceLayout([1], [-1, -1])}])) == [2, 3]
    assert rank_list_for_transform(1, old, Strategy([{"shared": layout}])) == [1]
    new = Strategy([{"a": layout}, {"b": layout}])
    assert [rank_list_for_transform(rank, old, new) for rank in range(4)] == [[0], [1], [2], [3]]


def test_a_rank_that_holds_much_is_taken_before_others() -> None:
    layouts = {"cut": SliceLayout([4], [0, -1]), "whole": SliceLayout([4], [-1])}
    new = {"cut": SliceLayout([4], [0, -1]), "whole": SliceLayout([4], [-1])}
    assert rank_list_for_transform(3, Strategy([layouts]), Strategy([new])) == [3]


def test_the_files_of_these_ranks_are_enough(tmp_path: Path) -> None:
    old, new = strategy(tmp_path / "old.json", "dp2tp2"), strategy(tmp_path / "new.json", "tp4")
    folder = source(tmp_path / "run")
    for rank in ranks("tp4"):
        needed = rank_list_for_transform(rank, old, new)
        paths = {each: folder / f"rank_{each}" / "net-1_1.ckpt" for each in needed}
        with (
            open_distributed(folder, old, to=new, rank=rank, parameters="numpy") as whole,
            open_distributed(paths, old, to=new, rank=rank, parameters="numpy") as part,
        ):
            found, wanted = part.load(), whole.load()
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], wanted[name]) for name in found)


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentTypeError, match="rank_id must be an int"):
        rank_list_for_transform("0")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="rank_id is 1, and the target has 1 rank"):
        rank_list_for_transform(1, one([2], [0]))
    with pytest.raises(CheckpointError):
        ckptload.rank_list_for_transform(0, b"no strategy")
