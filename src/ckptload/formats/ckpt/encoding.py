"""Encode items as a .ckpt: records, as buffers in file order.

Nothing here opens or writes a file. Only the headers, a few bytes each, are made here; tensor data is passed
on without a copy. tests/formats/ckpt/test_encoding.py compares the headers with those of protobuf's encoder.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from ckptload.formats import entry
from ckptload.formats.ckpt import schema, wire
from ckptload.formats.ckpt.trailer import trailer
from ckptload.formats.crc32 import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload.formats.item import Item

    Buffer = bytes | memoryview

#: Tensor data above this size, in bytes, is written as several records; MindSpore's own constant is in KiB
#: (MindSpore 2.10.0, train/serialization.py:102).
SLICE_SIZE: Final = 512 << 20

#: Bytes summed at a time: few enough to be written while they are in the processor's cache.
_CRC_PIECE: Final = 1 << 20


def _tag(field: int, wire_type: int) -> bytes:
    return bytes([field << 3 | wire_type])


_VALUE: Final = _tag(schema.CHECKPOINT_VALUE, wire.LEN)
_TAG: Final = _tag(schema.VALUE_TAG, wire.LEN)
_TENSOR: Final = _tag(schema.VALUE_TENSOR, wire.LEN)
_MAPTENSOR: Final = _tag(schema.VALUE_MAPTENSOR, wire.LEN)
_DIM: Final = _tag(schema.TENSOR_DIMS, wire.VARINT)
_TYPE: Final = _tag(schema.TENSOR_TYPE, wire.LEN)
_CONTENT: Final = _tag(schema.TENSOR_CONTENT, wire.LEN)
_MAP_TENSOR: Final = _tag(schema.MAP_TENSOR, wire.LEN)

#: The tensor_type of entries that are not tensors.
_KINDS: Final = {entry.STRING: schema.STRING_TYPE, entry.BYTES: schema.RANDOM_OP_TYPE}


def ckpt(
    items: Iterable[Item], *, crc_check: bool = False, by_rows: bool = False, slice_size: int = SLICE_SIZE
) -> Iterator[Buffer]:
    """Yield the bytes of a whole .ckpt; each buffer is valid until the next one is requested.

    Buffers may share memory with the items.

    Args:
        items: the entries, in file order.
        crc_check: whether to append the CRC-32 of all records.
        by_rows: cut large tensors between rows of the first axis, as MindSpore's asynchronous saves do;
            otherwise every `slice_size` bytes (docs/format.md, "Slices").
        slice_size: largest tensor data of one record, in bytes; with `by_rows`, a single row may exceed it.
    """
    buffers = chain.from_iterable(_item(item, slice_size, by_rows=by_rows) for item in items)
    return _summed(buffers) if crc_check else buffers


def _item(item: Item, slice_size: int, *, by_rows: bool) -> Iterator[Buffer]:
    if item.kind == entry.MAP:
        return _map(item)
    name = item.name.encode()
    if item.dtype is None:
        # In one record, because MindSpore truncates a string in several (docs/format.md, "Strings").
        kind, sizes = _KINDS[item.kind], [item.nbytes]
    elif by_rows:
        kind, sizes = item.dtype.name, _row_slices(item.shape, item.nbytes, slice_size)
    else:
        kind, sizes = item.dtype.name, _slices(item.nbytes, slice_size)
    tensor = _tensor_head(item.shape, kind)
    return _sliced(item, sizes, name, tensor)


def _sliced(item: Item, sizes: list[int], name: bytes, tensor: bytes) -> Iterator[Buffer]:
    """Yield one record for each of `sizes`, however the item cuts its data into pieces."""
    pieces = item.pieces()
    piece = memoryview(b"")
    for size in sizes:
        yield _record(name, _TENSOR, tensor + _CONTENT + _varint(size), size)
        missing = size
        while missing:
            if not piece:
                piece = next(pieces)
            part, piece = piece[:missing], piece[missing:]
            missing -= len(part)
            yield part


def _slices(nbytes: int, limit: int) -> list[int]:
    """Return the sizes of the slices of a tensor (MindSpore 2.10.0, train/serialization.py:513).

    An empty tensor gets one record. MindSpore would leave it out (docs/format.md, "Shapes and scalars").
    """
    whole, rest = divmod(nbytes, limit)
    return [limit] * whole + [rest] * (rest > 0 or not whole)


def _row_slices(shape: tuple[int, ...], nbytes: int, limit: int) -> list[int]:
    """Return the sizes of the slices of a tensor that is cut between rows, as by numpy.array_split.

    The larger ones come first; some are 0 if there are fewer rows than slices (MindSpore 2.10.0,
    train/serialization.py:485).
    """
    count = -(-nbytes // limit)
    if count <= 1:
        return [nbytes]
    rows, more = divmod(shape[0], count)
    row = nbytes // shape[0]
    return [(rows + 1) * row] * more + [rows * row] * (count - more)


def _map(item: Item) -> Iterator[Buffer]:
    """Yield the one record of a map, in numpy's type names (MindSpore 2.10.0, train/serialization.py:542)."""
    heads = []
    for part in item.parts:
        kind = part.dtype.spelling if part.dtype is not None else ""
        heads.append(_tensor_head(part.shape, kind) + _CONTENT + _varint(part.nbytes))
    framed = [
        _MAP_TENSOR + _varint(len(head) + part.nbytes) + head for head, part in zip(heads, item.parts, strict=True)
    ]
    total = sum(len(head) for head in framed) + item.nbytes
    yield _record(item.name.encode(), _MAPTENSOR, b"", total)
    for head, part in zip(framed, item.parts, strict=True):
        yield head
        yield from part.pieces()


def _tensor_head(shape: Iterable[int], kind: str) -> bytes:
    """Encode the dims and the type of a tensor."""
    dims = b"".join(_DIM + _varint(dim) for dim in shape)
    return dims + _TYPE + _varint(len(kind)) + kind.encode()


def _record(name: bytes, field: bytes, head: bytes, size: int) -> bytes:
    """Encode the part of a record that precedes its `size` bytes of data."""
    value = _TAG + _varint(len(name)) + name + field + _varint(len(head) + size) + head
    return _VALUE + _varint(len(value) + size) + value


def _varint(value: int) -> bytes:
    if value < 1 << 7:
        return bytes([value])
    out = bytearray()
    while value >= 1 << 7:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _summed(buffers: Iterable[Buffer]) -> Iterator[Buffer]:
    """Yield the buffers, in pieces that fit the processor's cache, and then the trailer."""
    value = 0
    for buffer in buffers:
        view = memoryview(buffer)
        for at in range(0, len(view), _CRC_PIECE):
            piece = view[at : at + _CRC_PIECE]
            value = crc32(piece, value)
            yield piece
    yield trailer(value)
