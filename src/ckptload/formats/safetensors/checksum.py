"""The CRC-32 in the metadata of MindSpore's safetensors files: ``crc_num``.

It covers the names in sorted order, each followed by the bytes of its tensor, with one exception. MindSpore
passes each array to ``bytes()``, and ``bytes(n)`` of an integer of shape ``()`` is `n` zero bytes: a step counter
of 3 is summed as three zeros. MindSpore's writer and its reader both do this (MindSpore 2.10.0,
train/serialization.py:436 and 1203).

Neither dtypes nor shapes are in this sum. So what a conversion writes has a second one beside it, over a line for
each entry (docs/safetensors.md, "What the metadata say").
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ckptload.formats.crc32 import add_zeros, crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload.dtypes import DType

#: Metadata key of the sum, a decimal number.
KEY: Final = "crc_num"
#: Metadata key of our own sum of names, dtypes and shapes, eight hexadecimal digits; other readers ignore it.
ENTRIES: Final = "ckptload.entries"

_PIECE: Final = 1 << 20


def add(value: int, name: str, dtype: DType, shape: tuple[int, ...], pieces: Iterable[memoryview]) -> int:
    """Continue the sum `value` by one tensor.

    Args:
        value: sum of the tensors whose names sort before `name`; 0 for the first tensor.
        name: name of the tensor.
        dtype: type of its elements.
        shape: its dimensions.
        pieces: its data as flat bytes; a piece is not used after the next one is requested.
    """
    value = crc32(name.encode(), value)
    if shape == () and dtype.numpy.kind in "iu":
        content = b"".join(pieces)
        count = int.from_bytes(content, "little", signed=dtype.numpy.kind == "i")
        # A negative count is an error in MindSpore, so it has not written a sum for such a file.
        return add_zeros(value, count) if count >= 0 else crc32(content, value)
    for piece in _small(pieces):
        value = crc32(piece, value)
    return value


def of_entries(entries: Iterable[tuple[str, str, tuple[int, ...]]], texts: str = "") -> str:
    """Return our own sum of what the entries are, as it is in the metadata.

    Args:
        entries: name, dtype and shape of each, in the order in which they are read.
        texts: the strings of a .ckpt as they are in the metadata, which belong to the entries, too.
    """
    value = 0
    for name, dtype, shape in entries:
        # JSON in ASCII: two lists of entries are never the same bytes.
        value = crc32(json.dumps([name, dtype, shape], separators=(",", ":")).encode() + b"\n", value)
    return f"{crc32(texts.encode(), value):08x}"


def _small(pieces: Iterable[memoryview]) -> Iterator[memoryview]:
    for piece in pieces:
        for at in range(0, len(piece), _PIECE):
            yield piece[at : at + _PIECE]
