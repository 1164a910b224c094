"""Operators and methods of a tensor: arithmetic, comparisons, reductions, shapes, conversions.

They cover what scripts do with loaded weights: average, scale, merge, compare and reshape them. For everything else,
`Held.asnumpy` gives a numpy array. Every result is a new Tensor, even if the operand is a Parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.foreign.taking import taken
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import from_python
from ckptload.tensors.spelling import dimensions, integers

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.dtypes import Array, DType

    Axis = int | tuple[int, ...] | list[int] | None

#: The class of results: `Tensor`. It derives from these classes, so it cannot be imported here.
Result = TypeVar("Result")


class Held(Generic[Result]):
    """An array with its dtype; the base of `Tensor`."""

    _array: Array
    _dtype: DType

    @property
    def dtype(self) -> DType:
        """MindSpore dtype of the elements."""
        return self._dtype

    def asnumpy(self) -> Array:
        """View the elements as a numpy array that shares memory with this tensor.

        Returns:
            Array of type ``dtype.numpy``: int8 for Int4, ml_dtypes' types for bfloat16 and float8, and
            uint8 (the raw bytes) for HiFloat8.
        """
        return self._array

    numpy = asnumpy

    def _plain(self, array: Array, dtype: DType) -> Result:
        """Wrap a result in a Tensor, also for a Parameter."""
        raise NotImplementedError

    def astype(self, dtype: Any) -> Result:
        """Convert the elements; see `Tensor.astype`."""
        raise NotImplementedError

    def _typed(self) -> arithmetic.Typed:
        return self._array, self._dtype


class Casts(Held[Result]):
    """Conversions named after a float type; `astype` converts to any type."""

    def half(self) -> Result:
        """Convert to Float16."""
        return self.astype(dtypes.float16)

    def bfloat16(self) -> Result:
        """Convert to BFloat16."""
        return self.astype(dtypes.bfloat16)

    def float(self) -> Result:
        """Convert to Float32."""
        return self.astype(dtypes.float32)

    def double(self) -> Result:
        """Convert to Float64."""
        return self.astype(dtypes.float64)


class Operators(Held[Result]):
    """Operators and comparisons, element by element, and the matrix product."""

    def _operand(self, other: object) -> arithmetic.Typed:
        """Return the other operand of an operation as an array."""
        return _beside(self._dtype, other)

    def _combine(self, name: str, other: object) -> Result:
        return self._plain(*arithmetic.combine(name, self._typed(), _beside(self._dtype, other)))

    def _under(self, name: str, other: object) -> Result:
        return self._plain(*arithmetic.combine(name, _beside(self._dtype, other), self._typed()))

    def __add__(self, other: object) -> Result:
        return self._combine("addition", other)

    def __radd__(self, other: object) -> Result:
        return self._under("addition", other)

    def __sub__(self, other: object) -> Result:
        return self._combine("subtraction", other)

    def __rsub__(self, other: object) -> Result:
        return self._under("subtraction", other)

    def __mul__(self, other: object) -> Result:
        return self._combine("multiplication", other)

    def __rmul__(self, other: object) -> Result:
        return self._under("multiplication", other)

    def __truediv__(self, other: object) -> Result:
        return self._combine("division", other)

    def __rtruediv__(self, other: object) -> Result:
        # A reciprocal and a product (mindspore/common/tensor.py, __rtruediv__); one division rounds differently.
        inverse = arithmetic.combine("division", _beside(self._dtype, 1), self._typed())
        return self._plain(*arithmetic.combine("multiplication", inverse, _beside(inverse[1], other)))

    def __pow__(self, other: object) -> Result:
        return self._combine("power", other)

    def __rpow__(self, other: object) -> Result:
        return self._under("power", other)

    def __floordiv__(self, other: object) -> Result:
        return self._combine("floor division", other)

    def __rfloordiv__(self, other: object) -> Result:
        return self._under("floor division", other)

    def __mod__(self, other: object) -> Result:
        return self._combine("modulo", other)

    def __rmod__(self, other: object) -> Result:
        return self._under("modulo", other)

    def __and__(self, other: object) -> Result:
        return self._combine("bitwise and", other)

    def __or__(self, other: object) -> Result:
        return self._combine("bitwise or", other)

    def __xor__(self, other: object) -> Result:
        return self._combine("bitwise xor", other)

    def __matmul__(self, other: object) -> Result:
        if not isinstance(other, Held) and taken(other) is None:
            raise ArgumentTypeError(f"a matrix product takes a Tensor, not {type(other).__name__}")
        return self._combine("matrix product", other)

    matmul = __matmul__

    def __neg__(self) -> Result:
        return self._plain(*arithmetic.negate(*self._typed()))

    def __abs__(self) -> Result:
        return self._plain(*arithmetic.magnitude(*self._typed()))

    abs = __abs__

    # What holds no numbers is never equal to a tensor.
    def __eq__(self, other: object) -> Any:
        return self._combine("==", other) if _is_numeric(other) else False

    def __ne__(self, other: object) -> Any:
        return self._combine("!=", other) if _is_numeric(other) else True

    def __hash__(self) -> int:
        return id(self)

    def __lt__(self, other: object) -> Result:
        return self._combine("<", other)

    def __le__(self, other: object) -> Result:
        return self._combine("<=", other)

    def __gt__(self, other: object) -> Result:
        return self._combine(">", other)

    def __ge__(self, other: object) -> Result:
        return self._combine(">=", other)


class Computing(Operators[Result], Casts[Result]):
    """Reductions and changes of shape.

    A reduction takes ``axis`` and ``keepdims`` under every name that MindSpore accepts for them, and ``dtype``, to
    which the elements are converted first.
    """

    def _reduce(self, name: str, axis: Axis, keepdims: object, spelled: dict[str, Any]) -> Result:
        dtype = spelled.pop("dtype", None)
        if isinstance(keepdims, dtypes.DType):
            # Tensor.sum(axis, dtype, keepdims) is another order of MindSpore's.
            keepdims, dtype = False, keepdims
        where = _where(name, axis, keepdims, spelled)
        if dtype is None:
            return self._plain(*arithmetic.reduce(name, *self._typed(), where))
        operand: Any = self.astype(dtype)
        reduced: Any = self._plain(*arithmetic.reduce(name, operand.asnumpy(), operand.dtype, where))
        return cast("Result", reduced.astype(dtype))

    def sum(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return the sum; Bool, UInt8 and signed integers give Int64."""
        return self._reduce("sum", axis, keepdims, spelled)

    def mean(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return the mean, in the tensor's own dtype."""
        return self._reduce("mean", axis, keepdims, spelled)

    def all(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return whether all elements are true, as Bool."""
        return self._reduce("all", axis, keepdims, spelled)

    def any(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return whether any element is true, as Bool."""
        return self._reduce("any", axis, keepdims, spelled)

    def _shaped(self, name: str, change: Callable[[Array], Array]) -> Result:
        """Return the elements in another shape, in new memory."""
        with arithmetic.translated(name):
            return self._plain(np.array(change(self._array), order="C"), self._dtype)

    def reshape(self, *shape: Any) -> Result:
        """Return the elements in another shape; one length may be -1.

        Raises:
            ArgumentError: the number of elements does not fit.
            ArgumentTypeError: a length is not an integer.
        """
        lengths = integers("reshape", shape)
        return self._shaped("reshape", lambda array: array.reshape(lengths))

    view = reshape

    def flatten(self, order: str = "C") -> Result:
        """Return the elements in one dimension, row by row or (``order="F"``) column by column."""
        return self._shaped("flatten", lambda array: array.ravel(order))  # type: ignore[arg-type]

    @property
    def T(self) -> Result:  # noqa: N802 -- numpy's name, and MindSpore's
        """The tensor with its dimensions in reverse order."""
        return self.transpose()

    def transpose(self, *axes: Any) -> Result:
        """Return the tensor with its dimensions in another order, reversed if none is given."""
        order = integers("transpose", axes) if axes else None
        return self._shaped("transpose", lambda array: array.transpose(order))

    permute = transpose


def _beside(dtype: DType, value: Any) -> arithmetic.Typed:
    """Return the other operand of an operation as an array: any framework's tensor, a list of numbers, or a number."""
    if isinstance(value, Held):
        return value.asnumpy(), value.dtype
    if isinstance(value, (list, tuple)):
        return from_python(value, None)
    found = taken(value)
    return arithmetic.number(value, dtype) if found is None else (found.array, found.dtype)


def _is_numeric(value: object) -> bool:
    """Tell whether a value can be compared with a tensor element by element."""
    return isinstance(value, (Held, int, float, complex, np.number, np.bool_, np.ndarray, list, tuple)) or (
        taken(value) is not None
    )


def _where(name: str, axis: Any, keepdims: Any, spelled: dict[str, Any]) -> arithmetic.Over:
    """Collect a reduction's arguments under the names that MindSpore, its mint package and numpy use."""
    axis = spelled.pop("dim", axis)
    for other in ("keep_dims", "keepdim"):
        keepdims = spelled.pop(other, keepdims)
    if spelled:
        raise ArgumentTypeError(f"{name} takes axis and keepdims, not {', '.join(spelled)}")
    if not isinstance(keepdims, (bool, int, np.integer)):
        raise ArgumentTypeError(f"{name} takes keepdims as a bool, not as {type(keepdims).__name__}")
    return arithmetic.Over(dimensions(name, axis), bool(keepdims))
