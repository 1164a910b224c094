"""`merge_sliced_parameter`: one parameter of the slices of all ranks, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    OutOfMemoryError,
    UnknownNameError,
    enough_memory,
)
from ckptload.messages import counted, type_name
from ckptload.ranks.layout_forms import read_layout
from ckptload.ranks.strategy import Strategy
from ckptload.tensors.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.dtypes import Array
    from ckptload.ranks.layout import SliceLayout


def merge_sliced_parameter(
    sliced_parameters: list[Any], strategy: Mapping[str, Any] | Strategy | None = None
) -> Parameter:
    """Join the slices of a parameter.

    Optimizer shards of the layout are not looked at, as in MindSpore; parts of different sizes are joined where the
    rows of the layout are those of the slices (MindSpore 2.10.0, parallel/checkpoint_transform.py:90).

    Args:
        sliced_parameters: the slice of each rank in the order of ranks: Parameters with one name, one dtype, and shapes
            that are equal but for axis 0.
        strategy: the layout of each name, as `build_searched_strategy` returns it, or a `Strategy` of one stage; None
            or empty if the slices are joined along axis 0 in their order.

    Returns:
        A parameter of its own memory, with the name and the flags of the first slice.

    Raises:
        ArgumentTypeError: the slices are not a list of Parameters, or the strategy is no mapping.
        ArgumentError: the slices do not fit each other, or the layout.
        UnknownNameError: the strategy does not have the name.
        OutOfMemoryError: there is not enough memory.
    """
    parameters = _parameters(sliced_parameters)
    first = parameters[0]
    try:
        arrays = _arrays(parameters)
        with enough_memory("to join the slices"):
            whole = _concatenated(arrays) if not strategy else _joined(arrays, _layout(strategy, first.name))
    except (ArgumentError, OutOfMemoryError) as error:
        error.name = first.name
        raise
    found = Parameter.adopt(whole, first.dtype, first.name)
    found.requires_grad, found.layerwise_parallel = first.requires_grad, first.layerwise_parallel
    return found


def _parameters(given: object) -> list[Parameter]:
    """Return the slices as Parameters of this package; MindSpore's are copied."""
    if not isinstance(given, list):
        raise ArgumentTypeError(f"sliced_parameters must be a list, not {type_name(given)}")
    if not given:
        raise ArgumentError("sliced_parameters is empty")
    found = []
    for at, parameter in enumerate(given):
        if isinstance(parameter, Parameter):
            found.append(parameter)
        elif type_name(parameter) == "mindspore.Parameter":
            how = {"requires_grad": parameter.requires_grad, "layerwise_parallel": parameter.layerwise_parallel}
            found.append(Parameter(parameter, name=parameter.name, **how))
        else:
            raise ArgumentTypeError(f"sliced_parameters[{at}] must be a Parameter, not {type_name(parameter)}")
    return found


def _arrays(parameters: Sequence[Parameter]) -> list[Array]:
    """Return the arrays of the slices after comparing each with the first one."""
    first = parameters[0]
    for at, parameter in enumerate(parameters):
        for what, one, other in (
            ("name", first.name, parameter.name),
            ("dtype", first.dtype, parameter.dtype),
            ("number of axes", first.ndim, parameter.ndim),
            ("shape after axis 0", first.shape[1:], parameter.shape[1:]),
        ):
            if one != other:
                raise ArgumentError(
                    f"the slices do not fit each other: the {what} of slice 0 is {one!r}, that of slice {at} {other!r}"
                )
    return [np.asarray(parameter) for parameter in parameters]


def _layout(strategy: object, name: str) -> SliceLayout:
    if isinstance(strategy, Strategy):
        return strategy.layout(name)
    if not isinstance(strategy, Mapping):
        raise ArgumentTypeError(f"strategy must be a dict of layouts, not {type_name(strategy)}")
    if name not in strategy:
        raise UnknownNameError("the strategy has no layout for it", name=name, hint="check the strategy and the slices")
    try:
        return read_layout(strategy[name])
    except CheckpointError as error:
        error.name = name
        raise


def _concatenated(arrays: Sequence[Array]) -> Array:
    if not arrays[0].ndim:
        raise ArgumentError("slices without an axis cannot be joined")
    return np.concatenate(arrays)


def _joined(arrays: Sequence[Array], layout: SliceLayout) -> Array:
    if len(arrays) != layout.devices:
        raise ArgumentError(f"there are {counted(len(arrays), 'slice')}, but the layout has {layout.devices} devices")
    shape = arrays[0].shape
    layout = layout.unsharded().fitted(shape, whole=False)
    if len({array.shape for array in arrays}) == 1:
        if layout.field > 0:
            return _joined_fields(arrays, layout.field)
        layout = layout.even()
    else:
        _check_rows(arrays, layout)
    whole = layout.whole(shape)
    out = np.empty(whole, arrays[0].dtype)
    for rank, array in enumerate(arrays):
        out[layout.box(rank, whole)] = array
    return out


def _check_rows(arrays: Sequence[Array], layout: SliceLayout) -> None:
    if not layout.is_uneven:
        shapes = ", ".join(str(list(shape)) for shape in sorted({array.shape for array in arrays})[:4])
        raise ArgumentError(f"the slices have different shapes ({shapes}), which the layout does not say")
    for rank, array in enumerate(arrays):
        rows = layout.split[layout.part(rank)]
        if len(array) != rows:
            raise ArgumentError(f"slice {rank} has {counted(len(array), 'row')}, the layout says {rows}")


def _joined_fields(arrays: Sequence[Array], fields: int) -> Array:
    """Join slices of which each has a part of every field."""
    rows, *rest = arrays[0].shape or (0,)
    if not arrays[0].ndim or rows % fields:
        raise ArgumentError(f"slices of {counted(rows, 'row')} cannot have {counted(fields, 'field')}")
    out = np.empty((fields, len(arrays), rows // fields, *rest), arrays[0].dtype)
    for at, array in enumerate(arrays):
        out[:, at] = array.reshape(fields, rows // fields, *rest)
    return out.reshape(rows * len(arrays), *rest)
