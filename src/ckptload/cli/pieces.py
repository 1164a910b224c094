"""Tensor data in pieces of limited size, so that memory use does not grow with the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ckptload.sources.spans import batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload import Entry, Reader
    from ckptload.dtypes import Array


#: Bytes in memory at a time: enough for fast reads, and few enough for low memory use.
PIECE: Final = 8 << 20


def of_tensors(reader: Reader, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Iterator[Array]]]:
    """Yield tensors, each with its data as flat arrays in order; several small ones are read at once.

    All pieces must be consumed before the next tensor is requested. Each owns its memory.
    """
    for group in batches(entries, lambda entry: entry.nbytes, PIECE):
        if len(group) == 1 and group[0].nbytes > PIECE:
            yield group[0], of_tensor(reader, group[0])
            continue
        values = reader.load(entry.name for entry in group)
        for entry in group:
            yield entry, iter([values[entry.name].asnumpy().reshape(-1)])


def of_tensor(reader: Reader, entry: Entry) -> Iterator[Array]:
    """Yield one tensor's data as flat arrays of at most `PIECE` bytes."""
    if entry.nbytes <= PIECE or entry.dtype is None:
        yield reader.get_tensor(entry.name).asnumpy().reshape(-1)
        return
    parts = reader.get_slice(entry.name)
    size = entry.nbytes // entry.dtype.itemsize
    step = PIECE // entry.dtype.itemsize
    for start in range(0, size, step):
        yield parts.flat(start, start + step).asnumpy()


def of_pairs(
    first: Reader, second: Reader, pairs: Iterable[tuple[Entry, Entry]]
) -> Iterator[tuple[tuple[Entry, Entry], Iterator[tuple[Array, Array]]]]:
    """Yield pairs of tensors of one shape, each with the data of both as pairs of flat arrays of equal length.

    Several small pairs are read at once. All pieces must be consumed before the next pair is requested.
    """
    for group in batches(pairs, lambda pair: max(pair[0].nbytes, pair[1].nbytes), PIECE):
        if len(group) == 1:
            yield group[0], of_pair(first, second, *group[0])
            continue
        left = first.load(one.name for one, _ in group)
        right = second.load(other.name for _, other in group)
        for one, other in group:
            a, b = left[one.name].asnumpy(), right[other.name].asnumpy()
            yield (one, other), iter([(a.reshape(-1), b.reshape(-1))])


def of_pair(first: Reader, second: Reader, one: Entry, other: Entry) -> Iterator[tuple[Array, Array]]:
    """Yield the data of two tensors of one shape as pairs of flat arrays of equal length."""
    if one.nbytes <= PIECE and other.nbytes <= PIECE:
        yield first.get_tensor(one.name).asnumpy().reshape(-1), second.get_tensor(other.name).asnumpy().reshape(-1)
        return
    if one.dtype is None or other.dtype is None:
        return
    size = one.nbytes // one.dtype.itemsize
    step = PIECE // max(one.dtype.itemsize, other.dtype.itemsize)
    left, right = first.get_slice(one.name), second.get_slice(other.name)
    for start in range(0, size, step):
        yield left.flat(start, start + step).asnumpy(), right.flat(start, start + step).asnumpy()


def same_bytes(left: Iterator[memoryview], right: Iterator[memoryview]) -> bool:
    """Compare two streams of equal length that may be cut in different places."""
    a = b = memoryview(b"")
    while True:
        a, b = a or next(left, a), b or next(right, b)
        size = min(len(a), len(b))
        if not size:
            return len(a) == len(b)
        if a[:size] != b[:size]:
            return False
        a, b = a[size:], b[size:]
