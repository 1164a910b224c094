"""From spans of a file to numpy arrays, copied once, into memory that the caller owns."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes
from ckptload.errors import CorruptCheckpointError, Hint, OutOfMemoryError
from ckptload.formats.ckpt import wire
from ckptload.formats.entry import descriptions
from ckptload.formats.item import as_bytes
from ckptload.sources.spans import neighbours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload.dtypes import Array
    from ckptload.formats.entry import Entry
    from ckptload.sources.base import Source


_BYTE: Final = np.dtype(np.uint8)


def bounds(array: Array) -> tuple[int, int]:
    """Return the start and stop address of a C-contiguous array."""
    start: int = array.__array_interface__["data"][0]
    return start, start + array.nbytes


def allocate(entry: Entry) -> Array:
    """Return an uninitialised array for an entry: aligned, writable, C-contiguous, and owning its memory.

    An entry without a dtype (a string or a random state) gets a flat array of bytes.

    Raises:
        CorruptCheckpointError: numpy does not support the shape.
        OutOfMemoryError: there is not enough memory.
    """
    numpy = _BYTE if entry.dtype is None else entry.dtype.numpy
    try:
        return np.empty(entry.shape if entry.dtype is not None else entry.nbytes, numpy)
    except ValueError as error:
        raise CorruptCheckpointError(
            f"not a valid shape: {entry.shape}", name=entry.name, offset=entry.offset, hint=wire.CUT_HINT
        ) from error
    except MemoryError as error:
        raise OutOfMemoryError(
            f"not enough memory for {entry.nbytes} bytes",
            name=entry.name,
            hint=Hint("{fewer}"),
        ) from error


def load(source: Source, entries: Sequence[Entry]) -> list[Array]:
    """Read entries together, in as many threads as the source uses.

    Returns:
        One array per entry, with its dtype and shape, or flat bytes for an entry without a dtype. Each array
        owns its memory, except that a source with `Source.views` returns views of its memory where it can.

    Raises:
        CheckpointError: the source cannot be read, or an array cannot be allocated.
    """
    if source.views:
        return [_view(source, entry) for entry in entries]
    arrays: list[Any] = [None] * len(entries)
    local = source.profile.local
    small: list[tuple[int, int, int]] = []
    rest: list[tuple[Entry, Array]] = []
    for at, entry in enumerate(entries):
        size, spans = entry.nbytes, entry.spans
        # The sizes are equal, so these are not bfloat16 values stored as float32.
        if local and 0 < size <= _SMALL and len(spans) == 1 and spans[0][1] - spans[0][0] == size:
            small.append((*spans[0], at))
        else:
            arrays[at] = allocate(entry)
            rest.append((entry, arrays[at]))
    fill(source, rest)
    small.sort()
    for group in neighbours(small, _span, gap=_GAP, most=_GROUP):
        _copy_out(source, entries, group, arrays)
    return arrays


#: Tensors up to this size, in bytes, are read together with their neighbours and then copied out.
_SMALL: Final = 4 << 10
#: The largest such read, in bytes.
_GROUP: Final = 256 << 10


def _span(place: tuple[int, int, int]) -> tuple[int, int]:
    return place[:2]


def _copy_out(
    source: Source, entries: Sequence[Entry], group: Sequence[tuple[int, int, int]], arrays: list[Array]
) -> None:
    """Read small neighbours by one call and copy each out, which is faster than a read for each."""
    begin = group[0][0]
    block = source.read(begin, group[-1][1])
    for start, _, at in group:
        entry = entries[at]
        shape, numpy = (entry.nbytes, _BYTE) if entry.dtype is None else (entry.shape, entry.dtype.numpy)
        try:
            arrays[at] = np.ndarray(shape, numpy, block, start - begin).copy()
        except (ValueError, MemoryError):
            # It raises an error that says what is wrong.
            allocate(entry)
            raise


def _view(source: Source, entry: Entry) -> Array:
    """Return a view of tensor data that is in one span, which may be unaligned; otherwise a copy."""
    if len(entry.spans) != 1 or is_wide(entry) or entry.nbytes == 0:
        array = allocate(entry)
        fill(source, [(entry, array)])
        return array
    numpy = _BYTE if entry.dtype is None else entry.dtype.numpy
    flat = np.frombuffer(source.read(*entry.spans[0]), numpy)
    return flat if entry.dtype is None else flat.reshape(entry.shape)


def load_rows(source: Source, entry: Entry, rows: range, begins: Sequence[int] | None = None) -> Array:
    """Read some rows of a tensor that has at least one dimension.

    Args:
        source: the file.
        entry: the tensor.
        rows: indexes along the first axis, inside it.
        begins: the result of `begins_of` for the entry, if the caller has it.

    Returns:
        An array of shape ``(len(rows), *entry.shape[1:])`` that owns its memory.

    Raises:
        CheckpointError: the source cannot be read, or the array cannot be allocated.
    """
    begins = begins_of(entry) if begins is None else begins
    if rows.step < 0:
        return load_rows(source, entry, rows[::-1], begins)[::-1].copy()
    row = entry.nbytes // max(entry.shape[0], 1)
    part = entry._replace(shape=(len(rows), *entry.shape[1:]), nbytes=row * len(rows))
    array = allocate(part)
    if not part.nbytes:
        return array
    if 0 < row * (rows.step - 1) <= _GAP:
        _load_dense(source, entry, rows, array, begins)
        return array
    wide = entry.dtype is dtypes.bfloat16 and begins[-1] != entry.nbytes
    target = np.empty(array.size, WIDE) if wide else array
    size = target.nbytes // len(rows)
    room = as_bytes(target)
    if rows.step == 1:
        requests = requests_of(entry, begins, room, rows.start * size)
    else:
        requests = []
        for at, index in enumerate(rows):
            requests += requests_of(entry, begins, room[at * size : (at + 1) * size], index * size)
    source.read_many(requests)
    if target is not array:
        narrow(target, array)
    return array


#: If at most this many bytes are between two wanted rows, they are read, too.
_GAP = 4096
#: The largest read of rows together with the bytes between them, in bytes.
_DENSE = 8 << 20


def _load_dense(source: Source, entry: Entry, rows: range, array: Array, begins: Sequence[int]) -> None:
    """Read rows with a small step by reading all rows, in parts of bounded size."""
    count = max(1, _DENSE // (array.nbytes // len(rows) * rows.step))
    for at in range(0, len(rows), count):
        some = rows[at : at + count]
        array[at : at + count] = load_rows(source, entry, range(some[0], some[-1] + 1), begins)[:: rows.step]


#: Some files store bfloat16 values as float32 (docs/format.md, "Tensor types").
WIDE = np.dtype("<u4")


def narrow(wide: Array, array: Array) -> None:
    """Copy the upper halves of float32 values, which are shifted in place, into a bfloat16 array."""
    # In place, because a tensor may fill half of the memory.
    wide >>= 16
    array.reshape(-1).view("<u2")[:] = wide


def begins_of(entry: Entry) -> list[int]:
    """Return the offset of each slice in the tensor's stored data, and the total size, in bytes."""
    return [0, *accumulate(stop - start for start, stop in entry.spans)]


def requests_of(entry: Entry, begins: Sequence[int], room: memoryview, start: int = 0) -> list[tuple[int, memoryview]]:
    """Return the reads that fill `room` with an entry's stored data from byte `start` on, across slices."""
    requests = []
    index, done = bisect_right(begins, start) - 1, 0
    while done < len(room):
        at, stop = entry.spans[index]
        at += start + done - begins[index]
        size = min(stop - at, len(room) - done)
        if size:
            requests.append((at, room[done : done + size]))
        done += size
        index += 1
    return requests


def fill(source: Source, pairs: Iterable[tuple[Entry, Array]]) -> None:
    """Read tensors into arrays of their dtype and size that are C-contiguous and writable.

    If this raises, the contents of the arrays are undefined.

    Raises:
        CheckpointError: the source cannot be read.
    """
    requests: list[tuple[int, memoryview]] = []
    shortened: list[tuple[Array, Array]] = []
    for entry, array in pairs:
        if entry.nbytes == 0:
            continue
        target = array
        if is_wide(entry):
            target = np.empty(array.size, WIDE)
            shortened.append((target, array))
        if len(entry.spans) == 1:
            requests.append((entry.spans[0][0], as_bytes(target)))
        else:
            requests.extend(requests_of(entry, begins_of(entry), as_bytes(target)))
    requests.sort(key=_start)
    source.read_many(requests)
    for wide, array in shortened:
        narrow(wide, array)


def _start(request: tuple[int, memoryview]) -> int:
    return request[0]


def is_wide(entry: Entry) -> bool:
    """Tell whether bfloat16 values are stored as float32."""
    return entry.dtype is dtypes.bfloat16 and entry.stored != entry.nbytes


#: Number of a source's read windows (`Profile.near`) in a piece. For a local file such a piece fits the processor's
#: cache; for a remote file it is worth a request.
_WINDOWS: Final = 8


def pieces(source: Source, entry: Entry) -> Iterator[memoryview]:
    """Yield an entry's data in pieces of one buffer; a piece is valid until the next one is requested."""
    if is_wide(entry):
        array = load(source, [entry])[0]
        source.check_near(descriptions([entry]))
        yield as_bytes(array)
        return
    size = _WINDOWS * source.profile.near
    scratch = as_bytes(np.empty(min(size, entry.nbytes), _BYTE))
    for start, stop in entry.spans:
        for at in range(start, stop, size):
            piece = scratch[: min(size, stop - at)]
            source.read_many([(at, piece)])
            yield piece
    source.check_near(descriptions([entry]))
