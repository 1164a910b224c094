"""How one tensor lies on the devices of a stage, and which part of it each holds (docs/format.md, "Slices of a rank").

Device axes are counted from the right, as MindSpore does it: 0 is the last axis of the device matrix, along which
neighbouring ranks lie. Everything here takes a time that grows with the number of axes alone, not with that of the
devices; only `SliceLayout.replicas` lists ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import ArgumentError
from ckptload.messages import counted, shown_value
from ckptload.ranks.layout_numbers import (
    ALL_REPLICAS,
    INT32,
    INT64,
    MAX_AXES,
    MAX_DEVICES,
    DeviceAxes,
    Dims,
    as_list,
    bounded_product,
    entries,
    number,
    numbers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, init=False)
class SliceLayout:
    """How one tensor is cut over the devices of a stage. Immutable.

    Args:
        device_matrix: sizes of the device axes; the ranks of a stage fill it with the last axis running fastest.
        tensor_map: for each axis of the tensor a device axis, counted from the right, or -1 for none, or a list of
            device axes, the outermost first.
        shard: into how many parts replicas cut their slice once more along axis 0 (optimizer shard): 0 for none, -1
            for as many as there are replicas.
        split: rows of each part of axis 0, if they are not equal.
        field: number of fields along axis 0, each of which is cut by itself (`merge_sliced_parameter`); 0 for none.
        expanded: the shape in a JSON strategy, where an axis that several device axes split is written as several.

    Raises:
        ArgumentTypeError: a number is none.
        ArgumentError: a device axis is less than 1, there are too many devices, or the map names an axis that does not
            exist or one axis twice.
    """

    device_matrix: tuple[int, ...]
    tensor_map: tuple[DeviceAxes, ...]
    shard: int
    split: tuple[int, ...]
    field: int
    expanded: tuple[int, ...]

    def __init__(
        self,
        device_matrix: Sequence[int],
        tensor_map: Sequence[int | Sequence[int]],
        *,
        shard: int = 0,
        split: Sequence[int] = (),
        field: int = 0,
        expanded: Sequence[int] = (),
    ) -> None:
        matrix = numbers(device_matrix, "device_matrix", 1, MAX_DEVICES, MAX_AXES)
        bounded_product(matrix)
        found = {
            "device_matrix": matrix,
            "tensor_map": entries(tensor_map, len(matrix)),
            "shard": number(shard, "shard", ALL_REPLICAS, MAX_DEVICES),
            "split": numbers(split, "split", 0, INT64, MAX_DEVICES),
            "field": number(field, "field", -INT32, INT32),
            "expanded": numbers(expanded, "expanded", 0, INT64, MAX_AXES),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    # -- what the numbers come to ---------------------------------------------------------------------------

    @cached_property
    def devices(self) -> int:
        """Number of devices of the stage."""
        return math.prod(self.device_matrix)

    @cached_property
    def parts(self) -> tuple[int, ...]:
        """Into how many parts each axis of the tensor is cut, without the optimizer shard."""
        return tuple(math.prod(size for _, size in digits) for digits in self._digits)

    @cached_property
    def shards(self) -> int:
        """Into how many parts the replicas of a slice cut it along axis 0.

        Raises:
            ArgumentError: the number of replicas is no multiple of it.
        """
        several = math.prod(size for _, size in self._spare)
        found = several if self.shard == ALL_REPLICAS else self.shard or 1
        if several % found:
            raise ArgumentError(
                f"an optimizer shard of {found} does not divide {counted(several, 'replica')} of a slice "
                f"(device matrix {list(self.device_matrix)}, tensor map {as_list(self.tensor_map)})",
                hint=_OTHER_STRATEGY,
            )
        return found

    @property
    def is_uneven(self) -> bool:
        """Whether the parts of axis 0 have the rows of `split`, and not equally many."""
        return len(self.split) > 1 and len(set(self.split)) > 1 and self.split_fits

    @property
    def split_fits(self) -> bool:
        """Whether `split` has one number for each part of axis 0."""
        return bool(self.parts) and len(self.split) == self.parts[0]

    @cached_property
    def _digits(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each axis of the tensor the (stride, size) of the device axes that split it, the outermost first."""
        return tuple(tuple(self._axes[-1 - axis] for axis in entry) for entry in self.tensor_map)

    @cached_property
    def _spare(self) -> tuple[tuple[int, int], ...]:
        """The (stride, size) of the device axes that split nothing, the outermost first; neighbours are joined."""
        used = {axis for entry in self.tensor_map for axis in entry}
        found: list[tuple[int, int]] = []
        for at, (stride, size) in enumerate(self._axes):
            if size == 1 or len(self._axes) - 1 - at in used:
                continue
            if found and found[-1][0] == stride * size:
                found[-1] = (stride, found[-1][1] * size)
            else:
                found.append((stride, size))
        return tuple(found)

    @cached_property
    def _axes(self) -> tuple[tuple[int, int], ...]:
        below = list(accumulate(reversed(self.device_matrix), int.__mul__, initial=1))[:-1]
        return tuple(zip(reversed(below), self.device_matrix, strict=True))

    # -- what a rank holds ----------------------------------------------------------------------------------

    def part(self, rank: int) -> int:
        """Return which part of axis 0 a rank of the stage holds, without the optimizer shard; 0 for a scalar."""
        self._check(rank)
        return _position(rank, self._digits[0]) if self._digits else 0

    def shard_of(self, rank: int) -> int:
        """Return which part of its slice a rank of the stage holds: its position among its replicas, modulo."""
        self._check(rank)
        return _position(rank, self._spare) % self.shards

    def replicas(self, rank: int) -> Sequence[int]:
        """Return the ranks of the stage that hold the same slice, ascending; the optimizer shard is not looked at."""
        self._check(rank)
        first = rank - sum(rank // stride % size * stride for stride, size in self._spare)
        if not self._spare:
            return (rank,)
        *outer, (stride, size) = self._spare
        if not outer:
            return range(first, first + size * stride, stride)
        runs = (range(0, size * stride, stride) for stride, size in self._spare)
        return tuple(first + sum(steps) for steps in product(*runs))

    def firsts(self) -> list[int]:
        """Return the lowest rank of each slice, ordered by their coordinates, that along the last axis first."""
        used = {axis for entry in self.tensor_map for axis in entry}
        steps = [
            range(0, size * stride, stride) for axis, (stride, size) in enumerate(reversed(self._axes)) if axis in used
        ]
        return [sum(found) for found in product(*steps)]

    def box(self, rank: int, whole_shape: Sequence[int]) -> tuple[slice, ...]:
        """Return where the slice of a rank of the stage lies in the whole tensor.

        Args:
            rank: counted from the first rank of the stage.
            whole_shape: as many axes as `tensor_map` has entries (`fitted`).

        Raises:
            ArgumentError: the stage has no such rank, or the shape cannot be cut so.
        """
        self._check(rank)
        self._check_axes(whole_shape)
        found = [
            _range(axis, length, parts, _position(rank, digits))
            if axis or not self.is_uneven
            else self._uneven(length, _position(rank, digits))
            for axis, (length, parts, digits) in enumerate(zip(whole_shape, self.parts, self._digits, strict=True))
        ]
        if self.shards > 1:
            if not found:
                raise ArgumentError("a scalar cannot be cut into optimizer shards", hint=_OTHER_STRATEGY)
            start, stop = found[0].start, found[0].stop
            inner = _range(0, stop - start, self.shards, self.shard_of(rank), "of a slice ")
            found[0] = slice(start + inner.start, start + inner.stop)
        return tuple(found)

    def whole(self, slice_shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the whole tensor of which a rank holds a slice of some shape.

        Raises:
            ArgumentError: the tensor has another number of axes, or the optimizer shard does not fit.
        """
        self._check_axes(slice_shape)
        found = [length * parts for length, parts in zip(slice_shape, self.parts, strict=True)]
        if found:
            found[0] = sum(self.split) if self.is_uneven else found[0] * self.shards
        return tuple(found)

    def _uneven(self, length: int, part: int) -> slice:
        if sum(self.split) != length:
            raise ArgumentError(
                f"axis 0 has {length} rows, the parts of the layout {sum(self.split)} together", hint=_OTHER_STRATEGY
            )
        start = sum(self.split[:part])
        return slice(start, start + self.split[part])

    def _check(self, rank: int) -> None:
        if not 0 <= rank < self.devices:
            raise ArgumentError(f"there is no rank {shown_value(rank)} among {counted(self.devices, 'device')}")

    def _check_axes(self, shape: Sequence[int]) -> None:
        if len(shape) != len(self.tensor_map):
            raise ArgumentError(
                f"the tensor map {as_list(self.tensor_map)} has {counted(len(self.tensor_map), 'entry', 'entries')}, "
                f"a tensor of shape {list(shape)} has {counted(len(shape), 'axis', 'axes')}",
                hint=_OTHER_STRATEGY,
            )

    # -- other layouts --------------------------------------------------------------------------------------

    def unsharded(self) -> SliceLayout:
        """Return the layout without the optimizer shard."""
        return self._with(shard=0) if self.shard else self

    def even(self) -> SliceLayout:
        """Return the layout with equal parts of axis 0."""
        return self._with(split=()) if self.split else self

    def fitted(self, shape: Sequence[int], *, whole: bool) -> SliceLayout:
        """Return the layout with one entry of the map for each axis of a tensor.

        Axes that a JSON strategy writes as several are joined again, empty entries at the end are dropped, and a
        `split` that is none is dropped, as some writers put the shape of the tensor there
        (docs/format.md, "Strategy files").

        Args:
            shape: of the tensor.
            whole: whether it is the shape of the whole tensor, or that of a slice.

        Raises:
            ArgumentError: the layout does not fit the number of axes, or fits it in several ways.
        """
        entries = self.tensor_map
        if len(entries) > len(shape) and len(self.expanded) == len(entries):
            entries = self._joined(tuple(shape), whole=whole)
        while len(entries) > len(shape) and not entries[-1]:
            entries = entries[:-1]
        found = self._with(tensor_map=entries, expanded=()) if entries is not self.tensor_map else self
        found._check_axes(shape)  # noqa: SLF001 -- the same class
        if found.split and not (found.split_fits and (not whole or sum(found.split) == shape[0])):
            return found.even()
        return found

    def _joined(self, shape: tuple[int, ...], *, whole: bool) -> tuple[DeviceAxes, ...]:
        """Return the map with neighbouring axes joined so that it fits a shape.

        In a run of joined axes every one but the last was written out for a device axis, and has just its size.
        """
        sizes = self.expanded if whole else tuple(t // c for t, c in zip(self.expanded, self.parts, strict=True))
        written_out = [t == c > 1 for t, c in zip(self.expanded, self.parts, strict=True)]
        ways: list[list[tuple[int, ...]]] = [[] for _ in sizes] + [[()]]
        for axis in reversed(range(len(shape))):
            wanted = {shape[axis]} if whole or axis else {shape[0], shape[0] * self.shards}
            # Two ways are as bad as more.
            ways = [
                [
                    (stop, *rest)
                    for stop in _runs(sizes, written_out, start)
                    if math.prod(sizes[start:stop]) in wanted
                    for rest in ways[stop]
                ][:2]
                for start in range(len(sizes))
            ] + [[]]
        if len(ways[0]) != 1:
            raise ArgumentError(
                f"the tensor map of {len(sizes)} axes and shape {list(self.expanded)} fits "
                f"{'the' if whole else 'a slice of'} shape {list(shape)} in "
                f"{'more than one way' if ways[0] else 'no way'}",
                hint=_OTHER_STRATEGY,
            )
        stops = ways[0][0]
        runs = zip((0, *stops), stops, strict=False)
        return tuple(
            DeviceAxes(axis for entry in self.tensor_map[start:stop] for axis in entry) for start, stop in runs
        )

    def _with(self, **changed: Any) -> SliceLayout:
        return SliceLayout(**(self.__getstate__() | changed))

    # -- as MindSpore's scripts read it ---------------------------------------------------------------------

    @property
    def dev_matrix(self) -> tuple[Dims, ...]:
        """`device_matrix`, as scripts read it of MindSpore's message."""
        return (Dims(self.device_matrix),)

    @property
    def param_split_shape(self) -> tuple[Dims, ...]:
        """`split`, likewise."""
        return (Dims(self.split),)

    @property
    def indices_offset(self) -> tuple[Dims, ...]:
        """Where the parts of axis 0 begin, if they are not equal, likewise."""
        return (Dims(tuple(accumulate(self.split[:-1], initial=0)) if self.is_uneven else ()),)

    @property
    def opt_weight_shard_size(self) -> int:
        """`shard`, likewise."""
        return self.shard

    @property
    def opt_weight_shard_step(self) -> int:
        """Distance of the replicas of rank 0, on average; 0 without an optimizer shard."""
        if not self.shard:
            return 0
        several = math.prod(size for _, size in self._spare)
        return sum((size - 1) * stride for stride, size in self._spare) // (several - 1) if several > 1 else 1


_OTHER_STRATEGY: Final = "check that the strategy is that of these files, or of this net"


def _runs(sizes: Sequence[int], written_out: Sequence[bool], start: int) -> Iterable[int]:
    """Yield the ends of the runs of axes from `start` on that may be one axis of a tensor."""
    for at in range(start, len(sizes)):
        yield at + 1
        if not written_out[at]:
            return


def _position(rank: int, digits: Iterable[tuple[int, int]]) -> int:
    """Return the number whose digits are the coordinates of a rank along some device axes, the first the highest."""
    found = 0
    for stride, size in digits:
        found = found * size + rank // stride % size
    return found


def _range(axis: int, length: int, parts: int, part: int, of: str = "") -> slice:
    if length % parts:
        raise ArgumentError(
            f"axis {axis} {of}has {counted(length, 'row')}, which cannot be cut into {parts} equal parts",
            hint=_OTHER_STRATEGY,
        )
    size = length // parts
    return slice(part * size, part * size + size)
