"""Tensor: an array with a MindSpore dtype, computed by numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ckptload.dtypes import DType

Array = np.ndarray[Any, np.dtype[Any]]


class Tensor:
    """An array with a MindSpore dtype."""

    _array: Array
    _dtype: DType

    @classmethod
    def _adopt(cls, array: Array, dtype: DType) -> Tensor:
        """Wrap an array as it is: no copy, no check.

        The caller promises that ``array.dtype == dtype.numpy`` and that the array is C-contiguous.
        """
        self = object.__new__(cls)
        self._array = array
        self._dtype = dtype
        return self

    def _plain(self, array: Array, dtype: DType) -> Tensor:
        """Wrap a result: operations on a Parameter give a Tensor."""
        return Tensor._adopt(array, dtype)

    @property
    def dtype(self) -> DType:
        """MindSpore dtype of the elements."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._array.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes to step to reach the next element, for each dimension."""
        return self._array.strides

    def asnumpy(self) -> Array:
        """View the elements as a numpy array that shares memory with this tensor."""
        return self._array

    def get_bytes(self) -> bytes:
        """Copy the elements' bytes: C order, little-endian."""
        return self._array.tobytes()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            return self._array.astype(dtype)
        return self._array.copy() if copy else self._array
