"""From spans to arrays: whole tensors, rows, whatever the slices, and who owns the memory."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import dtypes
from ckptload.errors import CorruptCheckpointError, OutOfMemoryError
from ckptload.formats import item
from ckptload.formats.entry import TENSOR, Entry
from ckptload.reading import arrays
from ckptload.sources.base import Profile
from ckptload.sources.files import MappedSource
from ckptload.sources.memory import BufferSource
from strategies import CountingSource

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


def entry(
    shape: tuple[int, ...], spans: list[tuple[int, int]], dtype: dtypes.DType = dtypes.float32, name: str = "w"
) -> Entry:
    return Entry(name, TENSOR, dtype, shape, math.prod(shape) * dtype.itemsize, tuple(spans), 7)


@st.composite
def placed(draw: st.DrawFn) -> tuple[bytes, Entry, Any]:
    """A file, an entry whose slices stand anywhere in it, and the array that they make."""
    dtype = draw(st.sampled_from([dtypes.int8, dtypes.int16, dtypes.float32, dtypes.bfloat16, dtypes.complex128]))
    wide = dtype is dtypes.bfloat16 and draw(st.booleans())
    shape = draw(st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple))
    size = math.prod(shape) * (4 if wide else dtype.itemsize)
    content = bytes(draw(st.randoms()).randbytes(size))
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
    data, spans = b"", []
    for start, stop in zip([0, *cuts], [*cuts, size], strict=True):
        data += draw(st.binary(max_size=5))
        spans.append((len(data), len(data) + stop - start))
        data += content[start:stop]
    values = np.frombuffer(content, "<u4") >> 16 if wide else np.frombuffer(content, np.uint8)
    array = values.astype("<u2").view(dtype.numpy) if wide else values.view(dtype.numpy)
    return data, entry(shape, spans, dtype), array.reshape(shape)


def same(first: Any, second: Any) -> bool:
    return (first.shape, first.dtype, first.tobytes()) == (second.shape, second.dtype, second.tobytes())


@pytest.mark.slow
@settings(max_examples=200)
@given(placed())
def test_content_is_read_whatever_its_slices(case: tuple[bytes, Entry, Any]) -> None:
    data, found, expected = case
    (array,) = arrays.load(BufferSource(data), [found])
    assert same(array, expected)
    assert array.flags.owndata
    assert array.flags.writeable
    assert array.flags.aligned
    assert array.flags.c_contiguous


@pytest.mark.slow
@settings(max_examples=300)
@given(placed(), st.data(), st.sampled_from([0, 4096]))
def test_rows_are_those_that_numpy_picks(case: tuple[bytes, Entry, Any], draw: st.DataObject, gap: int) -> None:
    """Forwards, backwards and with steps; one by one and with what stands between them."""
    data, found, expected = case
    rows = draw.draw(st.slices(found.shape[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_GAP", gap)
        patch.setattr(arrays, "_DENSE", 16)
        array = arrays.load_rows(BufferSource(data), found, range(found.shape[0])[rows])
    assert same(array, expected[rows])
    assert array.flags.owndata
    assert array.flags.writeable


@settings(max_examples=50)
@given(st.lists(placed(), max_size=4))
def test_many_are_read_in_one_go(cases: list[tuple[bytes, Entry, Any]]) -> None:
    data, entries = b"", []
    for part, found, _ in cases:
        entries.append(found._replace(spans=tuple((a + len(data), b + len(data)) for a, b in found.spans)))
        data += part
    got = arrays.load(BufferSource(data), entries)
    assert [same(array, expected) for array, (_, _, expected) in zip(got, cases, strict=True)] == [True] * len(cases)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4096), st.integers(0, 9000)), min_size=1, max_size=200), st.randoms())
def test_small_neighbours_are_read_together(sizes: list[tuple[int, int]], random: Random) -> None:
    """In whatever order they are wanted, and never more than a little of what lies between them."""
    data = bytearray()
    entries: list[Entry] = []
    for size, gap in sizes:
        spans = ((len(data) + gap, len(data) + gap + size),)
        entries.append(Entry(f"{len(entries)}", TENSOR, dtypes.uint8, (size,), size, spans, 0))
        data += bytes(len(entries) + at & 255 for at in range(gap + size))
    random.shuffle(entries)
    source = CountingSource(bytes(data))
    source.profile = Profile(local=True)
    for entry, array in zip(entries, arrays.load(source, entries), strict=True):
        ((start, stop),) = entry.spans
        assert array.tobytes() == data[start:stop]
        assert array.flags.owndata
        assert array.flags.writeable
    far = sum(gap > 4096 for _, gap in sizes[1:])
    assert len(source.reads) <= 1 + far + 2 * len(data) // (256 << 10)
    assert source.total <= sum(size for size, _ in sizes) + 4096 * len(sizes)


ROWS, WIDTH = 1000, 5000
MATRIX = np.arange(ROWS * WIDTH, dtype="<u4").reshape(ROWS, WIDTH)


@pytest.mark.parametrize(
    ("rows", "most"),
    [
        (slice(0, 10), 10),
        (slice(990, None), 10),
        (slice(None, None, 100), 10),
        (slice(None, None, -250), 4),
        (slice(5, 5), 0),
    ],
)
@pytest.mark.parametrize("slices", [1, 7])
def test_rows_cost_no_more_than_their_bytes(rows: slice, most: int, slices: int) -> None:
    """Also in a tensor of several slices."""
    size = MATRIX.nbytes
    cuts = [size * at // slices for at in range(slices + 1)]
    source = CountingSource(MATRIX.tobytes())
    found = entry((ROWS, WIDTH), list(itertools.pairwise(cuts)), dtypes.uint32)
    array = arrays.load_rows(source, found, range(ROWS)[rows])
    assert np.array_equal(array, MATRIX[rows])
    assert source.total == most * WIDTH * 4


@pytest.mark.parametrize("step", [2, 3, 500, -2])
def test_rows_that_lie_close_together_are_read_in_large_pieces(step: int) -> None:
    """A request for each of a million elements would take far more memory than the elements."""
    data = np.arange(1 << 18, dtype="<u4")
    source = CountingSource(data.tobytes())
    array = arrays.load_rows(source, entry(data.shape, [(0, data.nbytes)], dtypes.uint32), range(len(data))[::step])
    assert np.array_equal(array, data[::step])
    assert len(source.reads) < 10
    assert source.total <= data.nbytes


def test_rows_that_lie_close_together_are_read_a_bounded_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_DENSE", 1 << 12)
    data = np.arange(1 << 16, dtype="<u4")
    source = CountingSource(data.tobytes())
    array = arrays.load_rows(source, entry(data.shape, [(0, data.nbytes)], dtypes.uint32), range(1, len(data), 3))
    assert np.array_equal(array, data[1::3])
    assert max(stop - start for start, stop in source.reads) <= 1 << 12


def test_a_shape_that_numpy_refuses_is_corrupt() -> None:
    with pytest.raises(CorruptCheckpointError, match="not a valid shape:") as caught:
        arrays.allocate(entry((1 << 62, 0, 1 << 62), []))
    assert (caught.value.name, caught.value.offset) == ("w", 7)


def test_memory_that_is_not_there_is_an_error_of_ours() -> None:
    """A header alone cannot ask for so much; a sparse file can."""
    with pytest.raises(OutOfMemoryError, match=f"not enough memory for {1 << 62} bytes") as caught:
        arrays.allocate(entry((1 << 60,), []))
    assert isinstance(caught.value, MemoryError)
    assert caught.value.name == "w"
    assert "choice_func" in (caught.value.hint or "")


def test_arrays_share_nothing() -> None:
    data = bytearray(range(64))
    first, second = arrays.load(BufferSource(data), [entry((8,), [(0, 32)]), entry((8,), [(0, 32)])])
    assert not np.shares_memory(first, second)
    before = first.tobytes()
    data[:] = bytes(64)
    second[:] = 0
    assert first.tobytes() == before


def test_a_mapped_source_gives_views_where_it_can(tmp_path: Path) -> None:
    """Writing to one changes neither the file nor another mapping of it."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(bytes(range(100)))
    source = MappedSource(str(path))
    view, joined = arrays.load(source, [entry((4,), [(1, 17)]), entry((4,), [(1, 9), (20, 28)])])
    assert not view.flags.owndata
    assert not view.flags.aligned
    assert joined.flags.owndata
    view[0] = 0
    source.close()
    assert view.tobytes() == bytes(4) + bytes(range(5, 17))
    assert path.read_bytes() == bytes(range(100))


def test_bytes_are_those_of_any_dtype() -> None:
    for dtype in dtypes.ALL:
        array = np.zeros((2, 3), dtype.numpy)
        assert len(item.as_bytes(array)) == array.nbytes
        item.as_bytes(array)[0] = 1
        assert array.tobytes()[0] == 1
