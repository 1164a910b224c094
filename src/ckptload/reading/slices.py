"""Parts of a tensor: only the requested rows are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ckptload import shown
from ckptload.errors import ArgumentIndexError, ArgumentTypeError, CheckpointError
from ckptload.foreign.giving import NUMPY, OURS, tensor
from ckptload.messages import shown_value
from ckptload.reading import arrays
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.dtypes import Array, DType
    from ckptload.formats.entry import Entry
    from ckptload.sources.base import Source

    Read = Callable[[Callable[[Source], Array]], Array]


class TensorSlice:
    """A tensor of an open checkpoint; indexing it like a numpy array reads that part."""

    def __init__(self, entry: Entry, begins: Sequence[int], read: Read, path: str, *, gives: str = OURS) -> None:
        self._entry = entry
        self._gives = gives
        # Computed only once, because a tensor may have many slices and rows may be read one by one.
        self._begins = begins
        self._read = read
        self._path = path

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the whole tensor."""
        return self._entry.shape

    @property
    def dtype(self) -> DType:
        """Return the dtype of the whole tensor."""
        return cast("DType", self._entry.dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentTypeError("a scalar has no length", name=self._entry.name, path=self._path)
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Read and yield the rows one by one."""
        return (self[row] for row in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        """Read the part of the tensor that `index` selects.

        An int or a slice on the first axis reads only those rows; any other index reads the whole
        tensor. The other axes are indexed after reading.

        Returns:
            A tensor of the reader's kind that owns its memory.

        Raises:
            ArgumentIndexError: the index does not fit the shape.
        """
        try:
            picked = self._pick(index if isinstance(index, tuple) else (index,))
        except CheckpointError:
            raise
        except (IndexError, TypeError, ValueError) as error:
            raise ArgumentIndexError(
                f"index {shown_value(index)} does not fit shape {self.shape}: {shown.foreign(error)}",
                name=self._entry.name,
                path=self._path,
                hint="index it as a numpy array of that shape",
            ) from error
        if not isinstance(picked, np.ndarray) or picked.base is not None or not picked.flags.c_contiguous:
            # It may be a scalar, or a view that keeps a larger array alive.
            picked = np.array(picked, self.dtype.numpy, order="C")
        return self._given(picked)

    def _pick(self, index: tuple[Any, ...]) -> Any:
        first, rest = (index[0], index[1:]) if index else (..., ())
        if self.shape and isinstance(first, slice):
            rows = self._rows(first)
            return rows[(slice(None), *rest)] if rest else rows
        # True and False are masks to numpy, although they are integers.
        if self.shape and isinstance(first, (int, np.integer)) and not isinstance(first, bool):
            # range does the arithmetic and the bounds check.
            row = range(self.shape[0])[int(first)]
            return self._rows(slice(row, row + 1))[(0, *rest)]
        return self._rows(slice(None))[index]

    def flat(self, start: int, stop: int) -> Any:
        """Read a range of elements in C order, whatever the shape, for example to read a tensor in equal parts.

        Args:
            start: index of the first element, from 0 on.
            stop: index after the last element; it may be beyond the end, as in a slice.

        Returns:
            A tensor of one dimension, of the reader's kind, that owns its memory.
        """
        entry = self._entry
        size = math.prod(entry.shape)
        line = entry._replace(shape=(size,))
        wanted = range(size)[start:stop]
        result = self._read(lambda source: arrays.load_rows(source, line, wanted, self._begins))
        return self._given(result)

    def _given(self, array: Array) -> Any:
        """Return a part as a tensor of the reader's kind."""
        if self._gives == OURS:
            return Tensor.adopt(array, self.dtype)
        if array.base is not None and self._gives != NUMPY:
            array = array.copy()  # It may be a view of a mapped file, which could change.
        return tensor(self._gives, array, self.dtype, self._entry.name)

    def _rows(self, rows: slice) -> Array:
        entry = self._entry
        if not entry.shape:
            return self._read(lambda source: arrays.load(source, [entry])[0])
        wanted = range(entry.shape[0])[rows]
        return self._read(lambda source: arrays.load_rows(source, entry, wanted, self._begins))

    def __repr__(self) -> str:
        return f"<slices of {self._entry.name!r}: shape {self.shape}, {self.dtype}>"
