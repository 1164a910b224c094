"""Parameters that share memory: several values cannot be written to the same place, and the last would win silently.

Only addresses are compared, so that this is the same for arrays of numpy and tensors of every framework.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ckptload.dtypes import Array


class Extent(NamedTuple):
    """Where the elements of a parameter are, in bytes.

    Attributes:
        device: the memory that the addresses belong to.
        address: that of the first element.
        shape: its dimensions.
        strides: from one element to the next, for each dimension.
        itemsize: size of an element.
    """

    device: str
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int

    @property
    def bounds(self) -> tuple[int, int]:
        """The address of the first byte, and that after the last."""
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        start = self.address + sum(step for step in steps if step < 0)
        return start, self.address + sum(step for step in steps if step > 0) + self.itemsize

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def is_simple(self) -> bool:
        """Whether the elements are apart, as each dimension steps over all of the smaller ones."""
        reached = self.itemsize
        for stride, size in sorted((abs(stride), size) for stride, size in zip(self.strides, self.shape, strict=True)):
            if size > 1:
                if stride < reached:
                    return False
                reached += stride * (size - 1)
        return True


def extent_of(array: Array) -> Extent:
    """Return where the elements of an array are."""
    return Extent("cpu", array.__array_interface__["data"][0], array.shape, array.strides, array.itemsize)


def overlapping(extents: Mapping[str, Extent]) -> dict[str, str]:
    """Return the parameters that share memory, each with another one that it shares it with, or with itself.

    Args:
        extents: where each parameter is, by name.
    """
    found: dict[str, str] = {}
    for group in _touching(extents):
        if len(group) > 1 or not extents[group[0]].is_simple:
            _mark({name: extents[name] for name in group}, found)
    return found


def _touching(extents: Mapping[str, Extent]) -> Iterator[list[str]]:
    """Yield groups of parameters whose bounds overlap; nearly always each is alone."""
    placed = sorted((one.device, *one.bounds, name) for name, one in extents.items() if one.size)
    group: list[str] = []
    last, reached = "", 0
    for device, start, stop, name in placed:
        if group and device == last and start < reached:
            group.append(name)
            reached = max(reached, stop)
            continue
        if group:
            yield group
        group, last, reached = [name], device, stop
    if group:
        yield group


def _mark(extents: Mapping[str, Extent], found: dict[str, str]) -> None:
    """Note in `found` which parameters of a group share a byte, by writing their numbers into a map of the memory."""
    names = list(extents)
    low = min(one.bounds[0] for one in extents.values())
    high = max(one.bounds[1] for one in extents.values())
    unit = math.gcd(
        *(number for one in extents.values() for number in (one.address - low, one.itemsize, *map(abs, one.strides)))
    )
    owners = np.zeros(-(-(high - low) // unit), np.int32)
    for number, (name, one) in enumerate(extents.items(), 1):
        units = np.lib.stride_tricks.as_strided(
            owners[(one.address - low) // unit :],
            (*one.shape, one.itemsize // unit),
            (*(stride // unit * owners.itemsize for stride in one.strides), owners.itemsize),
        )
        for other in np.unique(units[units > 0]).tolist():
            found[name] = names[other - 1]
            found.setdefault(names[other - 1], name)
        units[...] = number
        if not one.is_simple and int(np.count_nonzero(owners == number)) < units.size:
            found.setdefault(name, name)
