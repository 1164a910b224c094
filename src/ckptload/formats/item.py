"""One entry that is to be written, whatever the format."""

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
        name: the name it gets in the file.
        kind: ``tensor``, ``string``, ``map`` or ``bytes``.
        dtype: type of the elements; None for what is no tensor.
        shape: dimensions of a tensor.
        nbytes: size of the content in bytes.
        content: an array of any order, bytes, or a function that yields the content piece by piece;
            a piece is valid until the next one is asked for.
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
        """Yield the content as flat bytes: C order, little-endian. A piece is valid until the next is asked for."""
        content = self.content
        if isinstance(content, bytes):
            yield memoryview(content)
        elif isinstance(content, np.ndarray):
            # What is in C order and little-endian already is viewed where it lies.
            yield as_bytes(np.ascontiguousarray(content, self.dtype.numpy if self.dtype else None))
        else:
            yield from content()


#: numpy's own types, whose memory Python can view as it is; two of numpy's views cost three times as much.
_PLAIN = "?bBhHiIlLqQefd" if sys.byteorder == "little" else ""


def as_bytes(array: Array) -> memoryview:
    """View a C-contiguous array's memory as flat bytes, whatever its dtype."""
    if array.dtype.char in _PLAIN and array.size:
        return array.data.cast("B")
    return array.reshape(-1).view(np.uint8).data
