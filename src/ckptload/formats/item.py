"""One entry to be written, the same for every format."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ckptload.dtypes import Array, DType

Content = Array | bytes | Callable[[], Iterator[memoryview]]


class Item(NamedTuple):
    """One entry to be saved.

    Attributes:
        name: the name to write.
        kind: ``tensor``, ``string``, ``map`` or ``bytes``.
        dtype: type of the elements; None if the entry is not a tensor.
        shape: dimensions of a tensor.
        nbytes: size of the data, in bytes.
        content: the data: an array in any memory order, bytes, or a function that yields flat pieces;
            a piece is valid until the next one is requested.
        parts: the tensors of a map.
    """

    name: str
    kind: str
    dtype: DType | None
    shape: tuple[int, ...]
    nbytes: int
    content: Content
    parts: tuple[Item, ...] = ()

    def pieces(self) -> Iterator[memoryview]:
        """Yield the data as flat bytes, in C order and little-endian.

        A piece may share memory with `content`; it is valid until the next one is requested.
        """
        content = self.content
        if isinstance(content, bytes):
            yield memoryview(content)
        elif isinstance(content, np.ndarray):
            # An array that is already in C order and little-endian is viewed, not copied.
            yield as_bytes(np.ascontiguousarray(content, self.dtype.numpy if self.dtype else None))
        else:
            yield from content()


#: Types whose memory a plain memoryview can cast; the way through two numpy views takes three times as long.
_PLAIN = "?bBhHiIlLqQefd" if sys.byteorder == "little" else ""


def as_bytes(array: Array) -> memoryview:
    """View the memory of a C-contiguous array of any dtype as flat bytes; the view keeps the array alive."""
    if array.dtype.char in _PLAIN and array.size:
        return array.data.cast("B")
    return array.reshape(-1).view(np.uint8).data
