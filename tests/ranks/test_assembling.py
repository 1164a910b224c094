"""Whole tensors as a source: any range of any tensor, cut in any way, is what numpy says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.dtypes import BY_NAME
from ckptload.formats.entry import TENSOR, Entry
from ckptload.formats.item import as_bytes
from ckptload.ranks import assembling
from ckptload.ranks.assembling import APART, Assembled, AssembledSource, Slices
from ckptload.ranks.copies import FIRST, Copies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload.ranks.boxes import Box

DTYPES = ["Int8", "Float16", "Float32", "Float64", "Complex128"]


class Held:
    """A member of a set whose slice is an array."""

    def __init__(self, number: int, array: Any) -> None:
        self.number, self.label, self.array = number, f"rank_{number}", np.ascontiguousarray(array)
        self.read = 0

    def entry(self, name: str) -> Entry:
        dtype = next(one for one in BY_NAME.values() if one.numpy == self.array.dtype)
        size = self.array.nbytes
        return Entry(name, TENSOR, dtype, self.array.shape, size, ((0, size),), 0)

    def read_many(self, name: str, requests: Sequence[tuple[int, memoryview]]) -> None:
        del name
        data = as_bytes(self.array.reshape(-1))
        for start, out in requests:
            assert start + len(out) <= len(data)
            out[:] = data[start : start + len(out)]
            self.read += len(out)


def edges(length: int, parts: int) -> list[tuple[int, int]]:
    return [(at * length // parts, (at + 1) * length // parts) for at in range(parts)]


def boxes(shape: Sequence[int], parts: Sequence[int]) -> Iterator[Box]:
    for index in np.ndindex(*parts):
        yield tuple(edges(length, n)[at] for length, n, at in zip(shape, parts, index, strict=True))


def cut(whole: Any, parts: Sequence[int]) -> dict[Any, Any]:
    found = {}
    for number, box in enumerate(boxes(whole.shape, parts)):
        found[box] = [Held(number, whole[tuple(slice(*edge) for edge in box)])]
    return found


def whole_of(shape: Sequence[int], dtype: str) -> Any:
    """An array whose every byte differs from its neighbours'."""
    numpy = BY_NAME[dtype].numpy
    size = math.prod(shape) * numpy.itemsize
    return (np.arange(size) * 37 % 251).astype(np.uint8).view(numpy).reshape(shape)


def read(region: Assembled, start: int, stop: int) -> bytes:
    out = bytearray(stop - start)
    region.read(start, memoryview(out), {})
    return bytes(out)


def copies() -> Copies:
    return Copies(FIRST, cut=True)


def ranges(length: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, length - 1).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, length)))


axes = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), max_size=4)


@given(axes, st.sampled_from(DTYPES), st.data())
@pytest.mark.parametrize(
    ("piece", "skipped", "short"), [(4 << 20, 64 << 10, 256), (64, 8, 4), (16, 0, 1), (48, 1000, 1)]
)
def test_any_range_of_any_cut_is_what_numpy_says(
    piece: int, skipped: int, short: int, given_axes: list[tuple[int, int]], dtype: str, data: st.DataObject
) -> None:
    """With the limits that choose between ways of reading set so low that small arrays take each way."""
    shape = [length for length, _ in given_axes]
    parts = [min(length, n) for length, n in given_axes]
    whole = whole_of(shape, dtype)
    wanted = tuple(data.draw(ranges(length)) for length in shape)
    part = np.ascontiguousarray(whole[tuple(slice(*edge) for edge in wanted)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembling, "PIECE", piece)
        patch.setattr(assembling, "_SKIPPED", skipped)
        patch.setattr(assembling, "_SHORT", short)
        region = Assembled("w", whole.itemsize, wanted, Slices(cut(whole, parts)), copies())
        assert region.nbytes == part.nbytes
        first = data.draw(st.integers(0, part.nbytes - 1))
        stop = data.draw(st.integers(first + 1, part.nbytes))
        assert read(region, 0, part.nbytes) == part.tobytes()
        assert read(region, first, stop) == part.tobytes()[first:stop]


def test_only_what_is_asked_for_is_read() -> None:
    """Rows of a tensor that is split along its columns need those rows of each slice, and nothing else."""
    whole = whole_of((64, 40), "Float32")
    held = cut(whole, (1, 4))
    region = Assembled("w", 4, ((0, 64), (0, 40)), Slices(held), copies())
    row = 40 * 4
    assert read(region, 10 * row, 12 * row) == whole[10:12].tobytes()
    assert sum(member.read for (member,) in held.values()) == 2 * row


def test_a_part_of_each_row_is_read_by_itself_if_rows_are_long() -> None:
    """One column of the target's many: the rest of a long row is not read."""
    whole = whole_of((16, 64 << 10), "Float32")
    held = cut(whole, (1, 1))
    region = Assembled("w", 4, ((0, 16), (1 << 10, 2 << 10)), Slices(held), copies())
    assert read(region, 0, region.nbytes) == whole[:, 1 << 10 : 2 << 10].tobytes()
    ((member,),) = held.values()
    assert member.read == region.nbytes


def test_scratch_memory_does_not_grow_with_the_tensor() -> None:
    """Rows of many megabytes, of which a few bytes are wanted each, are read without holding one."""
    whole = np.zeros((2, 24 << 20), np.int8)
    whole[:, 5:8] = [[1, 2, 3], [4, 5, 6]]
    held = cut(whole, (1, 1))
    region = Assembled("w", 1, ((0, 2), (5, 8)), Slices(held), copies())
    assert read(region, 0, 6) == whole[:, 5:8].tobytes()
    ((member,),) = held.values()
    assert member.read == 6


class Region:
    """A region of zeros and of ones."""

    def __init__(self, name: str, nbytes: int) -> None:
        self.name, self.nbytes = name, nbytes

    def read(self, start: int, out: memoryview, touched: Any) -> None:
        del touched
        assert 0 <= start <= start + len(out) <= self.nbytes
        out[:] = self.name.encode() * len(out)


def test_a_range_over_several_entries_has_zeros_between_them() -> None:
    regions: list[Any] = [Region("a", 3), Region("b", 0), Region("c", 5)]
    source = AssembledSource("set", [], regions)
    got = bytes(source.read(0, source.size))
    assert got == b"aaa" + bytes(2 * APART) + b"ccccc" + bytes(APART)
    assert bytes(source.read(1, 4)) == b"aa\0"
    assert source.starts == [0, 3 + APART, 3 + 2 * APART, 8 + 3 * APART]
