"""Which part of a tensor a rank holds, compared with numpy cutting an array along one device axis after another."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import ArgumentError, ArgumentTypeError, SliceLayout
from layouts import cut

#: docs/format.md, "Slices of a rank": rows of 48 that each of 8 ranks in a matrix of [2, 2, 2] holds.
ALL_REPLICAS = [(0, 6), (6, 12), (24, 30), (30, 36), (12, 18), (18, 24), (36, 42), (42, 48)]
TWO = [(0, 12), (12, 24), (24, 36), (36, 48), (0, 12), (12, 24), (24, 36), (36, 48)]
BOTH_AXES = [(0, 12), (12, 24), (24, 36), (36, 48)] * 2


@pytest.mark.parametrize(
    ("tensor_map", "shard", "rows"), [([1, -1], -1, ALL_REPLICAS), ([1, -1], 2, TWO), ([[1, 0], [-1]], 0, BOTH_AXES)]
)
def test_rows_of_each_rank(tensor_map: list[Any], shard: int, rows: list[tuple[int, int]]) -> None:
    layout = SliceLayout([2, 2, 2], tensor_map, shard=shard)
    boxes = [layout.box(rank, (48, 16)) for rank in range(8)]
    assert [(rows.start, rows.stop) for rows, _ in boxes] == rows
    assert all(columns == slice(0, 16) for _, columns in boxes)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], list[list[int]], int, list[int]]:
    """A device matrix, a tensor map, a shard that fits, and a whole shape that can be cut so."""
    matrix = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    axes = draw(st.permutations(range(len(matrix))))
    entries: list[list[int]] = [[] for _ in range(draw(st.integers(1, 3)))]
    for axis in axes[: draw(st.integers(0, len(axes)))]:
        entries[draw(st.integers(0, len(entries) - 1))].append(axis)
    used = [axis for entry in entries for axis in entry]
    replicas = math.prod(size for at, size in enumerate(reversed(matrix)) if at not in used)
    shard = draw(st.sampled_from([0, -1, *(n for n in range(1, replicas + 1) if replicas % n == 0)]))
    parts = [math.prod(matrix[-1 - axis] for axis in entry) for entry in entries]
    parts[0] *= replicas if shard == -1 else shard or 1
    return matrix, entries, shard, [part * draw(st.integers(1, 2)) for part in parts]


@settings(deadline=None, max_examples=20)
@given(layouts())
def test_boxes_are_those_of_numpy_and_tile_the_whole(told: tuple[list[int], list[list[int]], int, list[int]]) -> None:
    matrix, entries, shard, shape = told
    layout = SliceLayout(matrix, entries, shard=shard)
    whole = np.arange(math.prod(shape)).reshape(shape)
    slices = cut(matrix, [entry or [-1] for entry in entries], shard, whole)
    covered = np.zeros(shape, int)
    for rank, held in enumerate(slices):
        box = layout.box(rank, shape)
        assert np.array_equal(whole[box], held)
        assert layout.whole(held.shape) == tuple(shape)
        covered[box] += 1
    copies = len(layout.replicas(0)) // layout.shards
    assert covered.min() == covered.max() == copies


@settings(deadline=None, max_examples=20)
@given(layouts())
def test_replicas_hold_the_same_without_the_shard(told: tuple[list[int], list[list[int]], int, list[int]]) -> None:
    matrix, entries, _, shape = told
    layout = SliceLayout(matrix, entries)
    boxes = [layout.box(rank, shape) for rank in range(layout.devices)]
    for rank, box in enumerate(boxes):
        assert list(layout.replicas(rank)) == [other for other, same in enumerate(boxes) if same == box]
    assert sorted(layout.firsts()) == sorted({boxes.index(box) for box in boxes})


def test_many_devices_take_no_list_of_ranks() -> None:
    layout = SliceLayout([1 << 10, 1 << 10], [0, -1], shard=-1)
    assert layout.box((1 << 20) - 1, (1 << 20, 8)) == (slice((1 << 20) - 1, 1 << 20), slice(0, 8))
    assert layout.replicas(5) == range(5, 5 + (1 << 20), 1 << 10)


def test_uneven_parts() -> None:
    layout = SliceLayout([3], [0, -1], split=[2, 5, 3])
    assert layout.is_uneven
    assert [layout.box(rank, (10, 4))[0] for rank in range(3)] == [slice(0, 2), slice(2, 7), slice(7, 10)]
    assert layout.whole((5, 4)) == (10, 4)
    assert layout.fitted((10, 4), whole=True) == layout
    with pytest.raises(ArgumentError, match="axis 0 has 11 rows, the parts of the layout 10"):
        layout.box(0, (11, 4))


def test_a_split_that_is_the_shape_is_none() -> None:
    """The second writer of docs/format.md: two parts, and a shape of two numbers."""
    layout = SliceLayout([2], [0, -1], split=[48, 16])
    assert layout.fitted((48, 16), whole=True).box(1, (48, 16))[0] == slice(24, 48)


@pytest.mark.parametrize(
    ("tensor_map", "written", "whole", "joined"),
    [
        ([0, 1, -1], [2, 24, 16], (48, 16), ((0, 1), ())),
        ([-1, 0, 1], [16, 2, 24], (16, 48), ((), (0, 1))),
        ([0, -1], [48, 16], (48, 16), ((0,), ())),
    ],
)
def test_axes_that_json_writes_as_several_are_joined(
    tensor_map: list[int], written: list[int], whole: tuple[int, ...], joined: Any
) -> None:
    layout = SliceLayout([2, 2], tensor_map, expanded=written)
    assert layout.fitted(whole, whole=True).tensor_map == joined
    held = tuple(n // p for n, p in zip(whole, layout.fitted(whole, whole=True).parts, strict=True))
    assert layout.fitted(held, whole=False).tensor_map == joined


def test_a_slice_with_an_optimizer_shard_is_joined_too() -> None:
    layout = SliceLayout([2, 2, 2], [0, 1, -1], shard=-1, expanded=[2, 24, 16])
    assert layout.fitted((6, 16), whole=False).whole((6, 16)) == (48, 16)


def test_what_fits_in_several_ways_is_refused() -> None:
    layout = SliceLayout([2, 2], [0, 1, -1, -1], expanded=[2, 2, 1, 4])
    with pytest.raises(ArgumentError, match=r"fits the shape \[5, 5\] in no way"):
        layout.fitted((5, 5), whole=True)
    several = SliceLayout([2, 2, 2, 2], [0, 1, 2, 3], expanded=[2, 2, 2, 2])
    with pytest.raises(ArgumentError, match="in more than one way"):
        # Slices of size 1 fit however the axes are joined.
        several.fitted((1, 1), whole=False)


def test_an_empty_entry_at_the_end_is_dropped() -> None:
    layout = SliceLayout([2, 2], [[0, 1], []])
    assert layout.fitted((8,), whole=True).box(1, (8,)) == (slice(4, 6),)


@pytest.mark.parametrize(
    ("arguments", "how", "says"),
    [
        (([2, 0], [0]), {}, "must be 1 to 1048576, not 0"),
        (([], [0]), {}, "the device matrix is empty"),
        (([1 << 20, 2], [0]), {}, "more than 1048576 devices"),
        (([1 << 62], [0]), {}, "must be 1 to 1048576"),
        (([2], [1]), {}, "names device axis 1; the device matrix has 1"),
        (([2], [-2]), {}, "names device axis -2"),
        (([2, 2], [0, [1, 0]]), {}, "names a device axis twice"),
        (([1] * 65, [0]), {}, "65 numbers, the most are 64"),
        (([2], [-1] * 65), {}, "65 numbers, the most are 64"),
        (([2], [0]), {"shard": -2}, "must be -1 to"),
        (([2], [0]), {"split": [-1]}, "must be 0 to"),
    ],
)
def test_numbers_that_cannot_be_are_refused(arguments: Any, how: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        SliceLayout(*arguments, **how)


@pytest.mark.parametrize(
    "arguments", [(None, [0]), ("22", [0]), ([2], None), ([2.0], [0]), ([2], ["0"]), ({2: 2}, [0])]
)
def test_what_is_no_number_is_refused(arguments: Any) -> None:
    with pytest.raises(ArgumentTypeError):
        SliceLayout(*arguments)


@pytest.mark.parametrize(
    ("layout", "rank", "shape", "says"),
    [
        (SliceLayout([5], [0]), 0, (48,), "axis 0 has 48 rows, which cannot be cut into 5 equal parts"),
        (SliceLayout([2], [0]), 0, (48, 16), r"\[0\] has 1 entry, a tensor of shape \[48, 16\] has 2 axes"),
        (SliceLayout([2], [0]), 2, (48,), "no rank 2 among 2 devices"),
        (SliceLayout([2], [0]), -1, (48,), "no rank -1"),
        (SliceLayout([2, 2], [0], shard=-1), 0, (6,), "axis 0 of a slice has 3 rows, which cannot be cut into 2"),
        (SliceLayout([3], [-1], shard=2), 0, (6,), "an optimizer shard of 2 does not divide 3 replicas"),
        (SliceLayout([2], [], shard=-1), 0, (), "a scalar cannot be cut"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(layout: SliceLayout, rank: int, shape: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        layout.box(rank, shape)


def test_equal_layouts_are_equal_pickle_and_cannot_be_changed() -> None:
    layout = SliceLayout([2, 2], [0, -1], shard=-1)
    assert layout.box(3, (8, 2)) == pickle.loads(pickle.dumps(layout)).box(3, (8, 2))
    assert layout == SliceLayout((2, 2), ((0,), ()), shard=-1)
    assert len({layout, SliceLayout((2, 2), [[0], [-1]], shard=-1)}) == 1
    assert layout.unsharded() == SliceLayout([2, 2], [0, -1])
    with pytest.raises(AttributeError):
        layout.shard = 0  # type: ignore[misc]


def test_scripts_read_the_fields_of_the_message() -> None:
    layout = SliceLayout([2, 4], [1, -1], shard=-1, field=3)
    assert list(layout.dev_matrix[0].dim) == [2, 4]
    assert list(layout.tensor_map[0].dim) == [1, -1]
    assert list(layout.param_split_shape[0].dim) == []
    assert list(layout.indices_offset[0].dim) == []
    assert (layout.opt_weight_shard_size, layout.opt_weight_shard_step, layout.field) == (-1, 1, 3)
    assert list(SliceLayout([3], [0], split=[2, 5, 3]).indices_offset[0].dim) == [0, 2, 7]
    assert SliceLayout([2, 4], [0], shard=-1).opt_weight_shard_step == 4
    assert SliceLayout([2, 4], [0]).opt_weight_shard_step == 0
    assert [list(entry.dim) for entry in SliceLayout([2, 4], [[1, 0], [-1]]).tensor_map] == [[1, 0], [-1]]
