"""Operators and methods of a tensor: arithmetic, comparisons, reductions, shapes, conversions.

They cover what scripts do with loaded weights: average, scale, merge, compare and reshape them. For everything else,
`Held.asnumpy` gives a numpy array. Every result is a new Tensor, even if the operand is a Parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.foreign.taking import taken
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import from_python

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

    A reduction takes ``axis`` and ``keepdims`` under every name that MindSpore accepts for them.
    """

    def _reduce(self, name: str, axis: Axis, keepdims: object, spelled: dict[str, Any]) -> Result:
        where = _where(name, axis, keepdims, spelled)
        return self._plain(*arithmetic.reduce(name, *self._typed(), where))

    def sum(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return the sum; Bool, UInt8 and signed integers give Int64."""
        return self._reduce("sum", axis, keepdims, spelled)

    def mean(self, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return the mean, in the tensor's own dtype."""
        return self._reduce("mean", axis, keepdims, spelled)

    # With a positional axis, MindSpore's max and min return a pair, so the axis is keyword-only here.
    def max(self, *, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return the largest elements."""
        return self._reduce("max", axis, keepdims, spelled)

    def min(self, *, axis: Axis = None, keepdims: bool = False, **spelled: Any) -> Result:
        """Return the smallest elements."""
        return self._reduce("min", axis, keepdims, spelled)

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
        lengths = _integers("reshape", shape)
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
        order = _integers("transpose", axes) if axes else None
        return self._shaped("transpose", lambda array: array.transpose(order))

    permute = transpose

    def swapaxes(self, axis0: int, axis1: int) -> Result:
        """Return the tensor with two dimensions exchanged."""
        return self._shaped("swapaxes", lambda array: array.swapaxes(axis0, axis1))

    def squeeze(self, axis: int | None = None) -> Result:
        """Drop dimensions of length 1: all of them, or the one given if its length is 1."""
        return self._shaped(
            "squeeze", lambda array: array if axis is not None and array.shape[axis] != 1 else array.squeeze(axis)
        )

    def expand_dims(self, axis: int) -> Result:
        """Insert a dimension of length 1."""
        return self._shaped("expand_dims", lambda array: np.expand_dims(array, axis))

    unsqueeze = expand_dims

    def broadcast_to(self, shape: tuple[int, ...]) -> Result:
        """Repeat the tensor along new dimensions and along those of length 1."""
        return self._shaped("broadcast_to", lambda array: np.broadcast_to(array, shape))


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
    """Collect a reduction's arguments under the names that MindSpore, its mint package and numpy use.

    A list of dimensions is taken as a tuple; an empty one means all dimensions.
    """
    axis = spelled.pop("dim", axis)
    for other in ("keep_dims", "keepdim"):
        keepdims = spelled.pop(other, keepdims)
    if spelled:
        raise ArgumentTypeError(f"{name} takes axis and keepdims, not {', '.join(spelled)}")
    axis = tuple(axis) if isinstance(axis, list) else axis
    return arithmetic.Over(None if axis == () else axis, bool(keepdims))


def _integers(name: str, given: tuple[Any, ...]) -> tuple[int, ...]:
    """Return integers that are given one by one, or in one tuple or list."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = tuple(given[0])
    elif not given:
        raise ArgumentTypeError(f"{name} needs a shape")
    for value in given:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise ArgumentTypeError(f"{name} takes integers, not {type(value).__name__}")
    return tuple(int(value) for value in given)
