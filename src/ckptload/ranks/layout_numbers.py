"""The numbers of a layout, each bounded before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Devices of a stage, and of a training. The largest known trainings have tens of thousands.
MAX_DEVICES: Final = 1 << 20
#: Axes of a device matrix, and of a tensor map. numpy's arrays have up to 64 axes.
MAX_AXES: Final = 64
#: The largest numbers that fields of a message can hold.
INT32: Final = (1 << 31) - 1
INT64: Final = (1 << 63) - 1
#: The optimizer shard that cuts a slice over all of its replicas.
ALL_REPLICAS: Final = -1
#: The number in a tensor map for an axis that is not split.
UNSPLIT: Final = -1


class Dims(NamedTuple):
    """A list of numbers under the name that MindSpore's messages have for it."""

    dim: tuple[int, ...]


class DeviceAxes(tuple[int, ...]):  # noqa: SLOT001 -- a tuple cannot have slots of its own
    """The device axes that split one axis of a tensor, the outermost first.

    Attributes:
        dim: what scripts read of MindSpore's message: of the first entry of a map without joined axes, one number for
            each axis of the tensor, and else the axes themselves; -1 stands for none.
    """

    dim: tuple[int, ...]


def number(value: Any, argument: str, least: int, most: int) -> int:
    """Return an int after checking that it is from `least` to `most`."""
    try:
        found = index(value)
    except TypeError:
        raise ArgumentTypeError(f"{argument} must hold ints, not {type_name(value)}") from None
    if not least <= found <= most:
        raise ArgumentError(f"a number of {argument} must be {least} to {most}, not {shown_value(found)}")
    return found


def numbers(values: Any, argument: str, least: int, most: int, longest: int) -> tuple[int, ...]:
    """Return up to `longest` ints after checking that each is from `least` to `most`."""
    _check_sequence(values, argument, longest)
    return tuple(number(value, argument, least, most) for value in values)


def _check_sequence(values: Any, argument: str, longest: int) -> None:
    if isinstance(values, (str, bytes, Mapping)) or not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        raise ArgumentTypeError(f"{argument} must be a sequence of ints, not {type_name(values)}")
    if len(values) > longest:
        raise ArgumentError(f"{argument} has {len(values)} numbers, the most are {longest}")


def bounded_product(matrix: tuple[int, ...]) -> None:
    """Check that a device matrix has at least one axis, and not too many devices."""
    if not matrix:
        raise ArgumentError("the device matrix is empty")
    if math.prod(matrix) > MAX_DEVICES:
        raise ArgumentError(f"the device matrix {list(matrix)} has more than {MAX_DEVICES} devices")


def entries(tensor_map: Any, axes: int) -> tuple[DeviceAxes, ...]:
    """Return the entries of a map, after checking that each names device axes that are there, and once."""
    _check_sequence(tensor_map, "tensor_map", MAX_AXES)
    given = [
        numbers(entry if hasattr(entry, "__len__") else (entry,), "tensor_map", -INT64, INT64, MAX_AXES)
        for entry in tensor_map
    ]
    found = tuple(DeviceAxes(axis for axis in entry if axis != UNSPLIT) for entry in given)
    named = [axis for entry in found for axis in entry]
    for axis in named:
        if not 0 <= axis < axes:
            raise ArgumentError(
                f"the tensor map {as_list(found)} names device axis {axis}; the device matrix has {axes}, from 0 on"
            )
    if len(set(named)) < len(named):
        raise ArgumentError(f"the tensor map {as_list(found)} names a device axis twice")
    flat = all(len(entry) < 2 for entry in found)  # noqa: PLR2004 -- one axis or none
    whole = tuple(axis for entry in found for axis in (entry or (UNSPLIT,)))
    for at, entry in enumerate(found):
        entry.dim = whole if flat and not at else tuple(entry) or (UNSPLIT,)
    return found


def as_list(tensor_map: Sequence[Sequence[int]]) -> str:
    """Return a tensor map as a strategy writes it, for messages: -1 for an axis that is not split."""
    return str([entry[0] if len(entry) == 1 else list(entry) or UNSPLIT for entry in tensor_map])
