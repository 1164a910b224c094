"""What a tensor computes: operators, comparisons, reductions, changes of shape, conversions.

Every result is a new Tensor, also where the operand is a Parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import from_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.dtypes import Array, DType
    from ckptload.tensors.tensor import Tensor

    Axis = int | tuple[int, ...] | list[int] | None


class Held:
    """An array with its dtype, and how a result becomes a Tensor."""

    _array: Array
    _dtype: DType

    @property
    def dtype(self) -> DType:
        """MindSpore dtype of the elements."""
        return self._dtype

    def asnumpy(self) -> Array:
        """View the elements as a numpy array that shares memory with this tensor.

        Returns:
            Array of type ``dtype.numpy``: int8 for Int4, ml_dtypes' types for bfloat16 and float8, and the
            bytes as uint8 for HiFloat8.
        """
        return self._array

    numpy = asnumpy

    def _plain(self, array: Array, dtype: DType) -> Tensor:
        """Wrap a result: operations on a Parameter give a Tensor."""
        raise NotImplementedError

    def _typed(self) -> tuple[Array, DType]:
        return self._array, self._dtype

    def _other(self, value: Any) -> tuple[Array, DType]:
        if isinstance(value, Held):
            return value.asnumpy(), value.dtype
        if isinstance(value, (list, tuple)):
            return from_python(value, None)
        return arithmetic.number(value, self._dtype)


class Casts:
    """The conversions that are named after a type."""

    def astype(self, dtype: Any) -> Tensor:
        """Convert the elements; see `Tensor.astype`."""
        raise NotImplementedError

    def bool(self) -> Tensor:
        """Convert to Bool: everything but 0 is True."""
        return self.astype(dtypes.bool_)

    def byte(self) -> Tensor:
        """Convert to UInt8."""
        return self.astype(dtypes.uint8)

    def short(self) -> Tensor:
        """Convert to Int16."""
        return self.astype(dtypes.int16)

    def int(self) -> Tensor:
        """Convert to Int32."""
        return self.astype(dtypes.int32)

    def long(self) -> Tensor:
        """Convert to Int64."""
        return self.astype(dtypes.int64)

    def half(self) -> Tensor:
        """Convert to Float16."""
        return self.astype(dtypes.float16)

    def bfloat16(self) -> Tensor:
        """Convert to BFloat16."""
        return self.astype(dtypes.bfloat16)

    def float(self) -> Tensor:
        """Convert to Float32."""
        return self.astype(dtypes.float32)

    def double(self) -> Tensor:
        """Convert to Float64."""
        return self.astype(dtypes.float64)


class Operators(Held):
    """Operators and comparisons, element by element."""

    def _combine(self, name: str, other: object) -> Tensor:
        return self._plain(*arithmetic.combine(name, self._typed(), self._other(other)))

    def _under(self, name: str, other: object) -> Tensor:
        return self._plain(*arithmetic.combine(name, self._other(other), self._typed()))

    def __add__(self, other: object) -> Tensor:
        return self._combine("addition", other)

    def __radd__(self, other: object) -> Tensor:
        return self._under("addition", other)

    def __sub__(self, other: object) -> Tensor:
        return self._combine("subtraction", other)

    def __rsub__(self, other: object) -> Tensor:
        return self._under("subtraction", other)

    def __mul__(self, other: object) -> Tensor:
        return self._combine("multiplication", other)

    def __rmul__(self, other: object) -> Tensor:
        return self._under("multiplication", other)

    def __truediv__(self, other: object) -> Tensor:
        return self._combine("division", other)

    def __rtruediv__(self, other: object) -> Tensor:
        # In two steps, as MindSpore has it: the rounding differs from one division's.
        return self._under("division", 1)._combine("multiplication", other)

    def __floordiv__(self, other: object) -> Tensor:
        return self._combine("floor division", other)

    def __rfloordiv__(self, other: object) -> Tensor:
        return self._under("floor division", other)

    def __mod__(self, other: object) -> Tensor:
        return self._combine("remainder", other)

    def __rmod__(self, other: object) -> Tensor:
        return self._under("remainder", other)

    def __pow__(self, other: object) -> Tensor:
        return self._combine("power", other)

    def __rpow__(self, other: object) -> Tensor:
        return self._under("power", other)

    def __matmul__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Held):
            raise ArgumentTypeError(f"a matrix product takes a Tensor, not {type(other).__name__}")
        return self._combine("matrix product", other)

    matmul = __matmul__

    def __and__(self, other: object) -> Tensor:
        return self._combine("and", other)

    def __or__(self, other: object) -> Tensor:
        return self._combine("or", other)

    def __xor__(self, other: object) -> Tensor:
        return self._combine("exclusive or", other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __neg__(self) -> Tensor:
        return self._plain(*arithmetic.negate(*self._typed()))

    def __abs__(self) -> Tensor:
        return self._plain(*arithmetic.magnitude(*self._typed()))

    abs = __abs__

    def __round__(self) -> Tensor:
        arithmetic.computable(self._dtype)
        return self._plain(np.round(self._array), self._dtype)

    def __invert__(self) -> Tensor:
        arithmetic.computable(self._dtype)
        return self._plain(~self._array.astype(np.bool_), dtypes.bool_)

    def _compare(self, function: Callable[[Any, Any], Any], other: object) -> Tensor:
        return self._plain(*arithmetic.compare(function, self._typed(), self._other(other)))

    def __eq__(self, other: object) -> Any:
        # What is neither tensor nor number is simply something else.
        return self._compare(np.equal, other) if isinstance(other, (Held, int, float)) else False

    def __ne__(self, other: object) -> Any:
        return self._compare(np.not_equal, other) if isinstance(other, (Held, int, float)) else True

    def __hash__(self) -> int:
        return id(self)

    def __lt__(self, other: object) -> Tensor:
        return self._compare(np.less, other)

    def __le__(self, other: object) -> Tensor:
        return self._compare(np.less_equal, other)

    def __gt__(self, other: object) -> Tensor:
        return self._compare(np.greater, other)

    def __ge__(self, other: object) -> Tensor:
        return self._compare(np.greater_equal, other)


class Computing(Operators, Casts):
    """Reductions and changes of shape.

    A reduction takes ``axis`` and ``keepdims`` under each of the names that MindSpore has for them.
    """

    def _reduce(self, name: str, axis: Axis, keepdims: Any, spelled: dict[str, Any]) -> Tensor:
        where = _where(name, axis, keepdims, spelled)
        return self._plain(*arithmetic.reduce(name, *self._typed(), where))

    def sum(self, axis: Axis = None, keepdims: bool = False, *, dtype: Any = None, **spelled: Any) -> Tensor:
        """Add the elements up; Bool and integers are counted in Int64."""
        if dtype is not None:
            return self.astype(dtype).sum(axis, keepdims, **spelled)
        return self._reduce("sum", axis, keepdims, spelled)

    def prod(self, axis: Axis = None, keepdims: bool = False, *, dtype: Any = None, **spelled: Any) -> Tensor:
        """Multiply the elements; Bool and integers are counted in Int64."""
        if dtype is not None:
            return self.astype(dtype).prod(axis, keepdims, **spelled)
        return self._reduce("prod", axis, keepdims, spelled)

    def mean(self, axis: Axis = None, keepdims: bool = False, *, dtype: Any = None, **spelled: Any) -> Tensor:
        """Return the mean, in the tensor's own dtype."""
        if dtype is not None:
            return self.astype(dtype).mean(axis, keepdims, **spelled)
        return self._reduce("mean", axis, keepdims, spelled)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **spelled: Any) -> Tensor:
        """Return the variance; ``ddof`` is subtracted from the number of elements."""
        where = _where("var", axis, keepdims, spelled)
        return self._plain(*arithmetic.variance(*self._typed(), where, ddof))

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **spelled: Any) -> Tensor:
        """Return the standard deviation; ``ddof`` is subtracted from the number of elements."""
        spread = self.var(axis, ddof, keepdims, **spelled)
        return self._plain(np.sqrt(spread.asnumpy()), spread.dtype)

    def max(self, *dim: Any, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Any:
        """Return the largest elements.

        A dimension given by position asks for a pair, as in MindSpore: the values and where they stand.
        """
        return self._extreme(("max", "argmax"), dim, axis, keepdims, spelled)

    def min(self, *dim: Any, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Any:
        """Return the smallest elements; see `max`."""
        return self._extreme(("min", "argmin"), dim, axis, keepdims, spelled)

    def _extreme(
        self, names: tuple[str, str], dim: tuple[Any, ...], axis: Axis, keepdims: Any, spelled: dict[str, Any]
    ) -> Any:
        pair = bool(dim) or spelled.pop("return_indices", False)
        if dim:
            axis, keepdims = (*dim, keepdims)[:2]
        where = _where(names[0], axis, keepdims, spelled)
        values = self._plain(*arithmetic.reduce(names[0], *self._typed(), where))
        if not pair:
            return values
        places = self._plain(*arithmetic.reduce(names[1], *self._typed(), where))
        return values, places.astype(dtypes.int64)

    def argmax(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Tensor:
        """Return where the largest element stands, as Int64."""
        return self._reduce("argmax", axis, keepdims, spelled)

    def argmin(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Tensor:
        """Return where the smallest element stands, as Int32."""
        return self._reduce("argmin", axis, keepdims, spelled)

    def all(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Tensor:
        """Return whether all elements are true, as Bool."""
        return self._reduce("all", axis, keepdims, spelled)

    def any(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Tensor:
        """Return whether any element is true, as Bool."""
        return self._reduce("any", axis, keepdims, spelled)

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in another shape; one length may be -1.

        Raises:
            ArgumentError: the number of elements does not fit.
            ArgumentTypeError: a length is no integer.
        """
        lengths = _integers("reshape", shape)
        with arithmetic.translated("reshape"):
            return self._plain(self._array.reshape(lengths).copy(), self._dtype)

    view = reshape

    def flatten(self, order: str = "C") -> Tensor:
        """Return the elements in one dimension, row by row or (``order="F"``) column by column."""
        with arithmetic.translated("flatten"):
            return self._plain(self._array.flatten(order), self._dtype)  # type: ignore[arg-type]

    def ravel(self) -> Tensor:
        """Return the elements in one dimension, row by row."""
        return self.flatten()

    @property
    def T(self) -> Tensor:  # noqa: N802 -- numpy's name, and MindSpore's
        """The tensor with its dimensions in reverse order."""
        return self._plain(self._array.T, self._dtype)

    def transpose(self, *axes: Any) -> Tensor:
        """Return the tensor with its dimensions in another order, reversed if none is given."""
        order = _integers("transpose", axes) if axes else None
        with arithmetic.translated("transpose"):
            return self._plain(self._array.transpose(order), self._dtype)

    permute = transpose

    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        """Return the tensor with two dimensions exchanged."""
        with arithmetic.translated("swapaxes"):
            return self._plain(self._array.swapaxes(axis0, axis1), self._dtype)

    def squeeze(self, axis: int | None = None) -> Tensor:
        """Drop dimensions of length 1: all of them, or the one given if its length is 1."""
        with arithmetic.translated("squeeze"):
            if axis is not None and self._array.shape[axis] != 1:
                return self._plain(self._array.copy(), self._dtype)
            return self._plain(self._array.squeeze(axis).copy(), self._dtype)

    def expand_dims(self, axis: int) -> Tensor:
        """Insert a dimension of length 1."""
        with arithmetic.translated("expand_dims"):
            return self._plain(np.expand_dims(self._array, axis).copy(), self._dtype)

    unsqueeze = expand_dims

    def broadcast_to(self, shape: tuple[int, ...]) -> Tensor:
        """Repeat the tensor along new dimensions and along those of length 1."""
        with arithmetic.translated("broadcast_to"):
            return self._plain(np.broadcast_to(self._array, shape).copy(), self._dtype)


def _where(name: str, axis: Any, keepdims: Any, spelled: dict[str, Any]) -> arithmetic.Over:
    """Gather a reduction's arguments from the names that MindSpore, its mint package and numpy use."""
    axis = spelled.pop("dim", axis)
    for other in ("keep_dims", "keepdim"):
        keepdims = spelled.pop(other, keepdims)
    if spelled.pop("out", None) is not None or spelled:
        unknown = ", ".join(spelled) or "out"
        raise ArgumentTypeError(f"{name} takes axis and keepdims, not {unknown}")
    return arithmetic.over(axis, keepdims=keepdims)


def _integers(name: str, given: tuple[Any, ...]) -> tuple[int, ...]:
    """Accept integers one by one, or in one tuple or list."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = tuple(given[0])
    elif not given:
        raise ArgumentTypeError(f"{name} needs a shape")
    for value in given:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise ArgumentTypeError(f"{name} takes integers, not {type(value).__name__}")
    return tuple(int(value) for value in given)
