"""Numbers that are computed from many elements: norms, deviations, products, and where the largest element is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError, ComputationError
from ckptload.messages import type_name
from ckptload.tensors import arithmetic
from ckptload.tensors.operators import Computing, Result
from ckptload.tensors.spelling import dimensions, integer_of, spelled

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType
    from ckptload.tensors.operators import Axis

#: Bool and small integers are added up as Int32, and give a product as Int64.
_SMALL = frozenset({dtypes.bool_, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.uint8})

_reduction = spelled(dim="axis", keepdim="keepdims", keep_dims="keepdims")


class Reductions(Computing[Result]):
    """More reductions. A dimension is called ``axis`` or ``dim``; without one, all elements are meant."""

    # -- the largest and the smallest -------------------------------------------------------------

    @spelled(keepdim="keepdims", keep_dims="keepdims")
    def max(self, dim: Axis = None, keepdims: bool = False, *, axis: Axis = None, return_indices: bool = False) -> Any:
        """Return the largest elements; with ``dim``, a pair of them and of their places (Int64)."""
        return self._extreme("max", dim, axis, keepdims, pair=return_indices)

    @spelled(keepdim="keepdims", keep_dims="keepdims")
    def min(self, dim: Axis = None, keepdims: bool = False, *, axis: Axis = None, return_indices: bool = False) -> Any:
        """Return the smallest elements; with ``dim``, a pair of them and of their places (Int64)."""
        return self._extreme("min", dim, axis, keepdims, pair=return_indices)

    def _extreme(self, name: str, dim: Any, axis: Any, keepdims: bool, *, pair: bool) -> Any:
        values = self._reduce(name, axis if dim is None else dim, keepdims, {})
        if dim is None and not pair:
            return values
        return values, self._place(name, axis if dim is None else dim, keepdims, dtypes.int64)

    @_reduction
    def amax(self, axis: Axis = None, keepdims: bool = False) -> Result:
        """Return the largest elements."""
        return self._reduce("max", axis, keepdims, {})

    @_reduction
    def amin(self, axis: Axis = None, keepdims: bool = False) -> Result:
        """Return the smallest elements."""
        return self._reduce("min", axis, keepdims, {})

    @_reduction
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Result:
        """Return the place of the largest element, as Int64."""
        return self._place("max", axis, keepdims, dtypes.int64)

    @_reduction
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Result:
        """Return the place of the smallest element, as Int32."""
        return self._place("min", axis, keepdims, dtypes.int32)

    def _place(self, name: str, axis: int | None, keepdims: bool, dtype: DType) -> Result:
        with arithmetic.translated(f"arg{name}"):
            find = np.argmax if name == "max" else np.argmin
            places = np.asarray(find(_ordered(self._array), axis=axis, keepdims=keepdims))
            return self._plain(places.astype(dtype.numpy), dtype)

    # -- order ------------------------------------------------------------------------------------

    @spelled(dim="axis")
    def argsort(self, axis: int = -1, descending: bool = False) -> Result:
        """Return the places of the elements in their order, as Int32; equal elements keep their order."""
        with arithmetic.translated("argsort"):
            array = _ordered(self._array)
            if descending:
                last = array.shape[axis] - 1
                places = last - np.flip(np.argsort(np.flip(array, axis), axis, kind="stable"), axis)
            else:
                places = np.argsort(array, axis, kind="stable")
            return self._plain(places.astype(np.int32), dtypes.int32)

    @spelled(dim="axis")
    def sort(self, axis: int = -1, descending: bool = False) -> tuple[Result, Result]:
        """Return the elements in their order, and their places (Int32)."""
        places: Any = self.argsort(axis, descending)
        return self._shaped("sort", lambda array: np.take_along_axis(array, places.asnumpy(), axis)), places

    def topk(self, k: int, dim: int | None = None, largest: bool = True) -> tuple[Result, Result]:
        """Return the `k` largest or smallest elements in their order, and their places (Int32)."""
        axis, number = -1 if dim is None else dim, integer_of("topk", k)
        found: tuple[Any, Any] = self.sort(axis, largest)
        values, places = (part.narrow(axis, 0, number) for part in found)
        return values, places

    # -- sums -------------------------------------------------------------------------------------

    @_reduction
    def prod(self, axis: int | None = None, keepdims: bool = False, dtype: Any = None) -> Result:
        """Return the product; Bool, UInt8 and signed integers give Int64."""
        own = dtypes.int64 if self._dtype in _SMALL else self._dtype
        operand: Any = self.astype(own if dtype is None else dtype)
        with arithmetic.translated("prod"):
            product = np.prod(operand.asnumpy(), axis=axis, keepdims=keepdims, dtype=operand.dtype.numpy)
            return self._plain(np.asarray(product), operand.dtype)

    @_reduction
    def cumsum(self, axis: int | None = None, dtype: Any = None) -> Result:
        """Return the sums of each element and all before it; Bool and small integers give Int32."""
        own = dtypes.int32 if self._dtype in _SMALL else self._dtype
        operand: Any = self.astype(own if dtype is None else dtype)
        with arithmetic.translated("cumsum"):
            total = np.cumsum(operand.asnumpy(), axis=axis, dtype=operand.dtype.numpy)
            return self._plain(np.asarray(total), operand.dtype)

    @_reduction
    def count_nonzero(self, axis: Axis = None, keepdims: bool = False) -> Result:
        """Return how many elements are not 0, as Int32."""
        with arithmetic.translated("count_nonzero"):
            array = self._array.astype(np.bool_)
            number = np.sum(array, axis=dimensions("count_nonzero", axis), keepdims=keepdims, dtype=np.int32)
            return self._plain(np.asarray(number), dtypes.int32)

    @spelled(dim="axis", correction="ddof", keepdim="keepdims")
    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Result:
        """Return the variance; integers give Float32.

        Args:
            axis: the dimensions to reduce.
            ddof: what is subtracted from the number of elements before it divides their sum.
            keepdims: whether to keep these dimensions, with length 1.
        """
        return self._float("var", lambda array: _variance(array, dimensions("var", axis), ddof, keepdims))

    @spelled(dim="axis", correction="ddof", keepdim="keepdims")
    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Result:
        """Return the standard deviation; see `var`."""
        return self._float("std", lambda array: np.sqrt(_variance(array, dimensions("std", axis), ddof, keepdims)))

    @spelled(axis="dim", p="ord", keepdims="keepdim")
    def norm(self, ord: Any = None, dim: Axis = None, keepdim: bool = False, *, dtype: Any = None) -> Result:
        """Return a norm of vectors or matrices; integers give Float32.

        Args:
            ord: order of the norm as in `numpy.linalg.norm`; None for the root of the sum of squares.
            dim: the dimension of vectors, or the two of matrices; None for all dimensions.
            keepdim: whether to keep these dimensions, with length 1.
            dtype: dtype to which the elements are converted first.
        """
        if ord is not None and not isinstance(ord, (int, float, str, np.integer, np.floating)):
            raise ArgumentTypeError(f"the order of a norm is a number or 'fro' or 'nuc', not {type_name(ord)}")
        if dtype is not None:
            converted: Any = self.astype(dtype)
            result: Result = converted.norm(ord, dim, keepdim)
            return result
        return self._float("norm", lambda array: _norm(array, ord, dimensions("norm", dim), keepdims=keepdim))

    def _float(self, name: str, compute: Any) -> Result:
        """Compute in floats: 16-bit floats are rounded once, from Float32."""
        dtype = self._dtype if self._dtype.numpy.kind in "fVc" else dtypes.float32
        wide = np.dtype(np.float32) if dtype in (dtypes.float16, dtypes.bfloat16) else dtype.numpy
        if self._dtype is dtypes.bool_:
            raise ComputationError(f"{name} of Bool is not defined", hint="convert it with astype(float32)")
        with arithmetic.translated(name):
            return self._plain(np.asarray(compute(self._array.astype(wide))).astype(dtype.numpy), dtype)


#: Typed for any order: its type is checked before.
_norm: Any = np.linalg.norm


def _variance(array: Array, axis: Any, ddof: int, keepdims: bool) -> Array:
    """Return the variance; it is not a number where there are not more elements than `ddof`, of which numpy warns."""
    if isinstance(ddof, bool) or not isinstance(ddof, (int, float)):
        raise ArgumentTypeError(f"ddof must be a number, not {type_name(ddof)}")
    total = np.sum(array, axis=axis, keepdims=True)
    count = array.size // max(total.size, 1)
    squares = np.abs(array - total / total.dtype.type(count)) ** 2
    found = np.asarray(np.sum(squares, axis=axis, keepdims=keepdims))
    return np.asarray(found / found.dtype.type(count - ddof))


def _ordered(array: Array) -> Array:
    """Return elements that numpy can sort."""
    if array.dtype.kind == "c":
        raise ComputationError(f"elements of {array.dtype} are not ordered")
    return array.astype(np.float32) if array.dtype.kind == "V" else array
