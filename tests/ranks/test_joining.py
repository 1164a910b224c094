"""`merge_sliced_parameter`: the slices of all ranks in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptload
from ckptload import (
    ArgumentError,
    ArgumentTypeError,
    Parameter,
    SliceLayout,
    Strategy,
    Tensor,
    UnknownNameError,
    merge_sliced_parameter,
)
from layouts import cut

WHOLE = np.arange(6 * 8 * 2, dtype=np.float32).reshape(6, 8, 2)


def parameters(arrays: list[Any], name: str = "w") -> list[Parameter]:
    return [Parameter(Tensor(array), name=name) for array in arrays]


@pytest.mark.parametrize(
    ("matrix", "tensor_map"),
    [([2, 2], [1, 0, -1]), ([2, 2], [0, 1, -1]), ([2, 2], [-1, [0, 1], [-1]]), ([4], [-1] * 3)],
)
def test_slices_become_the_whole(matrix: list[int], tensor_map: list[Any]) -> None:
    slices = parameters(cut(matrix, tensor_map, 0, WHOLE))
    for strategy in ({"w": SliceLayout(matrix, tensor_map)}, Strategy([{"w": SliceLayout(matrix, tensor_map)}])):
        assert np.array_equal(merge_sliced_parameter(slices, strategy).asnumpy(), WHOLE)


def test_without_a_strategy_they_are_joined_in_their_order() -> None:
    found = merge_sliced_parameter(parameters([WHOLE[4:], WHOLE[:4]]))
    assert np.array_equal(found.asnumpy(), np.concatenate([WHOLE[4:], WHOLE[:4]]))


def test_bfloat16_stays_what_it_is_and_flags_are_those_of_the_first() -> None:
    slices = [Parameter(Tensor(WHOLE[:3], ckptload.bfloat16), name="w", requires_grad=False) for _ in range(2)]
    slices[1].requires_grad = True
    found = merge_sliced_parameter(slices, {"w": SliceLayout([2], [0, -1, -1])})
    assert (found.dtype, found.name, found.requires_grad) == (ckptload.bfloat16, "w", False)


def test_uneven_parts() -> None:
    slices = parameters([WHOLE[:1], WHOLE[1:4], WHOLE[4:]])
    layout = SliceLayout([3], [0, -1, -1], split=[1, 3, 2])
    assert np.array_equal(merge_sliced_parameter(slices, {"w": layout}).asnumpy(), WHOLE)
    with pytest.raises(ArgumentError, match="'w': slice 0 has 1 row, the layout says 2"):
        merge_sliced_parameter(slices, {"w": SliceLayout([3], [0, -1, -1], split=[2, 3, 1])})
    with pytest.raises(ArgumentError, match="'w': the slices have different shapes"):
        merge_sliced_parameter(slices, {"w": layout.even()})


def test_a_split_that_is_the_shape_is_none() -> None:
    layout = SliceLayout([2], [0, -1], split=[6, 8])
    assert np.array_equal(
        merge_sliced_parameter(parameters([WHOLE[:3, :, 0], WHOLE[3:, :, 0]]), {"w": layout}).asnumpy(), WHOLE[:, :, 0]
    )


def test_fields_are_joined_one_by_one() -> None:
    """Two devices, two fields: each device has the same rows of both."""
    whole = np.arange(16).reshape(8, 2)
    slices = parameters([whole[[0, 1, 4, 5]], whole[[2, 3, 6, 7]]])
    layout = SliceLayout([2], [0, -1], field=2)
    assert np.array_equal(merge_sliced_parameter(slices, {"w": layout}).asnumpy(), whole)
    with pytest.raises(ArgumentError, match="4 rows cannot have 3 fields"):
        merge_sliced_parameter(slices, {"w": SliceLayout([2], [0, -1], field=3)})


@pytest.mark.parametrize(
    ("slices", "strategy", "kind", "says"),
    [
        ([], None, ArgumentError, "empty"),
        (None, None, ArgumentTypeError, "must be a list"),
        ([1], None, ArgumentTypeError, r"sliced_parameters\[0\] must be a Parameter, not int"),
        (parameters([WHOLE]), 5, ArgumentTypeError, "strategy must be a dict"),
        (parameters([WHOLE]), {"v": 1}, UnknownNameError, "'w': the strategy has no layout"),
        (parameters([WHOLE]), {"w": 1}, ArgumentTypeError, "'w': a layout is read from"),
        (parameters([WHOLE]), {"w": SliceLayout([2], [0])}, ArgumentError, "1 slice, but the layout has 2 devices"),
        (parameters([WHOLE]), {"w": SliceLayout([1], [0])}, ArgumentError, "'w': the tensor map"),
        (parameters([WHOLE, WHOLE[:, 1:]]), None, ArgumentError, "shape after axis 0 of slice 0 is"),
        (parameters([WHOLE]) + parameters([WHOLE], "v"), None, ArgumentError, "name of slice 0 is 'w', .* 1 'v'"),
        (parameters([WHOLE, WHOLE.astype(int)]), None, ArgumentError, "dtype of slice 0"),
        (parameters([np.float32(1)]), None, ArgumentError, "without an axis"),
    ],
)
def test_what_does_not_fit_is_refused(slices: Any, strategy: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        merge_sliced_parameter(slices, strategy)
