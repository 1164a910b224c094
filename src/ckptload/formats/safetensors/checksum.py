"""The CRC-32 in the metadata of MindSpore's safetensors files: ``crc_num``.

It runs over the names in sorted order, each followed by its tensor's bytes, with one exception. MindSpore
passes each array to ``bytes()``, and of a single integer of shape ``()`` Python makes that many zero bytes:
a step counter of 3 is summed as three zeros. Both its writer and its reader do so, so that must be done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ckptload.formats.crc32 import add_zeros, crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload.dtypes import DType

#: Metadata key of the sum, a decimal number.
KEY: Final = "crc_num"

_PIECE: Final = 1 << 20


def add(value: int, name: str, dtype: DType, shape: tuple[int, ...], pieces: Iterable[memoryview]) -> int:
    """Return the sum `value` continued by one tensor.

    Args:
        value: the sum of the tensors before it, whose names sort before `name`; 0 at first.
        name: the tensor's name.
        dtype: type of its elements.
        shape: its dimensions.
        pieces: its content as flat bytes; one piece is done with before the next is asked for.
    """
    value = crc32(name.encode(), value)
    if shape == () and dtype.numpy.kind in "iu":
        content = b"".join(pieces)
        count = int.from_bytes(content, "little", signed=dtype.numpy.kind == "i")
        # A negative count is an error in MindSpore; such files have no sum of its making.
        return add_zeros(value, count) if count >= 0 else crc32(content, value)
    for piece in _small(pieces):
        value = crc32(piece, value)
    return value


def _small(pieces: Iterable[memoryview]) -> Iterator[memoryview]:
    for piece in pieces:
        for at in range(0, len(piece), _PIECE):
            yield piece[at : at + _PIECE]
