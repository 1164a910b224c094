"""Values for people, as numpy prints them; of large tensors only what is printed is read."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from ckptload.cli import pieces, stats, text
from ckptload.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload import DType, Entry, Reader, TensorSlice
    from ckptload.cli.terminal import Terminal
    from ckptload.dtypes import Array

    #: An index as numpy takes it.
    Index = tuple[Any, ...]

#: Elements from which on a tensor is not printed whole, and how many are printed at each end of an axis; as in numpy.
THRESHOLD: Final = 1000
_EDGE: Final = 3
#: Characters of a text, and bytes of a random state, that are printed.
_MOST_TEXT: Final = 1000
_MOST_BYTES: Final = 256
_LINE: Final = 32
#: The width of lines that nothing limits, as in numpy.
_WIDTH: Final = 75
#: Digits that floats of 16 bits and less are printed with; as float32 they would have more than they hold.
_DIGITS: Final = 6


@dataclass
class Look:
    """How values are shown.

    Attributes:
        index: the part of each tensor, or None for all of it.
        precision: digits behind the point, or None for as many as a value needs.
        terminal: where they are shown.
        full: whether every element is shown.
    """

    index: Index | None
    precision: int | None
    terminal: Terminal
    full: bool = False

    def lines(self, reader: Reader, name: str) -> Iterator[str]:
        """Yield what is shown of an entry.

        Raises:
            CheckpointError: it cannot be read, or the index does not fit.
        """
        entry = reader.readable(name)
        if entry.dtype is not None:
            yield from self._tensor(reader.get_slice(name), entry)
            return
        check_has_no_index(entry, self.index)
        value = reader[name]
        yield from self._head(entry, text.counted(entry.nbytes, "byte", "bytes"))
        if isinstance(value, str):
            yield from self._text(value)
        elif isinstance(value, bytes):
            yield from self._bytes(value)
        else:
            for number, (part, array) in enumerate(zip(entry.parts, value, strict=True)):
                yield f"[{number}] {part.dtype} {part.shape}"
                yield from self._array(array, cast("DType", part.dtype))

    def _head(self, entry: Entry, about: str, index: str = "") -> Iterator[str]:
        name, about = self.terminal.show(entry.name) + index, f"{text.type_of(entry)}  {about}"
        shown = self.terminal.style(name, fg="cyan", bold=True)
        if self.terminal.fits(f"{name}  {about}"):
            yield f"{shown}  {about}"
        else:
            yield shown
            yield from self.terminal.wrap(f"  {about}")

    def _tensor(self, part: TensorSlice, entry: Entry) -> Iterator[str]:
        size = text.bytes_in_units(entry.nbytes)
        if self.index is None:
            whole = self.full or math.prod(entry.shape) <= THRESHOLD
            array = part[...].asnumpy() if whole else edges(part, entry.shape)
            yield from self._head(entry, f"{entry.shape}  {size}")
            yield from self._array(array, part.dtype, whole=whole)
        else:
            array = part[self.index].asnumpy()
            yield from self._head(entry, f"{array.shape} of {entry.shape}  {size}", f"[{written(self.index)}]")
            yield from self._array(array, part.dtype, whole=self.full or array.size <= THRESHOLD)

    def _array(self, array: Array, dtype: DType, *, whole: bool | None = None) -> Iterator[str]:
        if dtype in stats.OPAQUE:
            yield self.terminal.style("raw bytes: their meaning as numbers is not known", dim=True)
        whole = self.full or array.size <= THRESHOLD if whole is None else whole
        narrow = array.dtype.kind not in "biu" and array.itemsize < np.dtype(np.float32).itemsize
        yield from np.array2string(
            array.astype(np.float32) if narrow else array,
            max_line_width=self.terminal.width or _WIDTH,
            precision=self.precision if self.precision is not None else _DIGITS if narrow else None,
            threshold=sys.maxsize if whole else 0,
            edgeitems=_EDGE,
        ).split("\n")

    def _text(self, value: str) -> Iterator[str]:
        shown = value if self.full else value[:_MOST_TEXT]
        yield from map(self.terminal.show, shown.split("\n"))
        yield from self._left_out(len(value) - len(shown), "more character", "more characters")

    def _bytes(self, value: bytes) -> Iterator[str]:
        shown = value if self.full else value[:_MOST_BYTES]
        for start in range(0, len(shown), _LINE):
            yield shown[start : start + _LINE].hex(" ", 4)
        yield from self._left_out(len(value) - len(shown), "more byte", "more bytes")

    def _left_out(self, number: int, singular: str, plural: str) -> Iterator[str]:
        if number:
            yield self.terminal.style(f"... {text.counted(number, singular, plural)}; --full shows all", dim=True)


def check_has_no_index(entry: Entry, index: Index | None) -> None:
    """Raise ArgumentError if a part is wanted of what is not a tensor."""
    if index is not None:
        raise ArgumentError(f"--slice is for tensors, and this entry is a {entry.kind}", name=entry.name)


def written(index: Index) -> str:
    """Return an index in Python's notation."""
    return ", ".join(map(_written, index))


def _written(part: Any) -> str:
    if part is ...:
        return "..."
    if not isinstance(part, slice):
        return str(part)
    bounds = [part.start, part.stop] + ([] if part.step is None else [part.step])
    return ":".join("" if bound is None else str(bound) for bound in bounds)


def edges(part: TensorSlice, shape: Sequence[int], start: int = 0) -> Array:
    """Read what numpy prints of a large tensor: of each axis both ends, and one element that makes it leave out more.

    Args:
        part: of the tensor.
        shape: of the block to read, which is contiguous.
        start: its first element.

    Returns:
        An array that is printed as the whole one is, if the threshold of numpy is 0.
    """
    size = math.prod(shape)
    if size * part.dtype.itemsize <= pieces.PIECE:
        block = part.flat(start, start + size).asnumpy().reshape(shape)
        found: Array = block[np.ix_(*map(_kept, shape))]
        return found
    rows, *inner = shape
    step = size // rows
    return np.stack([edges(part, inner, start + row * step) for row in _kept(rows)])


def _kept(length: int) -> list[int]:
    if length <= 2 * _EDGE + 1:
        return list(range(length))
    return [*range(_EDGE + 1), *range(length - _EDGE, length)]
