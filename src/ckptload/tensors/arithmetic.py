"""Tensor arithmetic on pairs of array and dtype: numpy computes, MindSpore's rules give the result dtype.

A plain number takes the tensor's dtype, with two exceptions: Bool and an integer give Int64; Bool or an integer
type and a float give Float32. Two tensors give the higher kind (Bool, integer, float, complex), the wider type
within a kind, and Float32 for Float16 with BFloat16. The same rules apply to types that MindSpore's CPU kernels
lack. Int4, float8 and HiFloat8 are storage types: they do not support arithmetic.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ckptload import dtypes
from ckptload.errors import (
    ArgumentError,
    ArgumentIndexError,
    ArgumentOverflowError,
    ArgumentTypeError,
    CheckpointError,
    ComputationError,
    OutOfMemoryError,
)
from ckptload.tensors.construction import convert, integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.dtypes import Array, DType

    Typed = tuple[Array, DType]

# Types that store elements but do not support arithmetic.
_STORAGE_ONLY: Final = frozenset({dtypes.qint4x2, dtypes.hifloat8, dtypes.float8_e4m3fn, dtypes.float8_e5m2})
_BOOL, _INTEGER, _FLOAT, _COMPLEX = range(4)
# numpy's kind letters; ml_dtypes' types have the letter of raw bytes, V.
_KINDS: Final = {"b": _BOOL, "i": _INTEGER, "u": _INTEGER, "f": _FLOAT, "V": _FLOAT, "c": _COMPLEX}


class Over(NamedTuple):
    """The dimensions to reduce, and whether to keep them with length 1."""

    axis: int | tuple[int, ...] | None
    keepdims: bool


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Compute without numpy's warnings, and turn its exceptions into ours."""
    try:
        with np.errstate(all="ignore"):
            yield
    except CheckpointError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(f"not enough memory for {operation}") from error
    except ValueError as error:
        raise ArgumentError(f"{operation}: {error}") from error
    except IndexError as error:
        raise ArgumentIndexError(f"{operation}: {error}") from error
    except OverflowError as error:
        raise ArgumentOverflowError(f"{operation}: {error}") from error
    except TypeError as error:
        raise ArgumentTypeError(f"{operation}: {error}") from error


def _kind(dtype: DType) -> int:
    """Return the rank of a dtype: Bool, integer, float, complex."""
    return _KINDS[dtype.numpy.kind]


def _computable(dtype: DType) -> None:
    """Raise ArgumentTypeError for a dtype that only stores elements."""
    if dtype in _STORAGE_ONLY:
        raise ArgumentTypeError(
            f"{dtype} elements do not support arithmetic",
            hint="convert them with astype(float32), or take the raw elements with asnumpy()",
        )


def _promote(a: DType, b: DType) -> DType:
    """Return the dtype of a result of two tensors."""
    _computable(a)
    _computable(b)
    if a is b:
        return a
    low, high = sorted((a, b), key=_kind)
    if _kind(low) != _kind(high):
        return dtypes.complex128 if {low, high} == {dtypes.float64, dtypes.complex64} else high
    if {low, high} == {dtypes.float16, dtypes.bfloat16}:
        return dtypes.float32
    if dtypes.bfloat16 in {low, high}:
        return low if high is dtypes.bfloat16 else high
    return dtypes.from_numpy(np.result_type(low.numpy, high.numpy))


def number(value: Any, beside: DType) -> Typed:
    """Convert a plain number to the dtype that it has in an operation with a tensor.

    Raises:
        ArgumentTypeError: it is not a real number.
    """
    _computable(beside)
    if isinstance(value, (bool, np.bool_)):
        return np.array(bool(value)).astype(beside.numpy), beside
    if isinstance(value, (int, np.integer)):
        dtype = dtypes.int64 if beside is dtypes.bool_ else beside
        wide = integer(int(value), dtypes.int64 if value < 1 << 63 else dtypes.uint64)
        return convert(wide, dtypes.from_numpy(wide.dtype), dtype), dtype
    if isinstance(value, (float, np.floating)):
        dtype = beside if _kind(beside) >= _FLOAT else dtypes.float32
        return convert(np.array(value, np.float64), dtypes.float64, dtype), dtype
    raise ArgumentTypeError(
        f"a tensor cannot be combined with {type(value).__name__}", hint="make a Tensor of it first, or give a number"
    )


def combine(name: str, a: Typed, b: Typed) -> Typed:
    """Compute one of `OPERATIONS` in the common dtype of both operands."""
    with translated(name):
        dtype = _promote(a[1], b[1])
        left, right = (array if own is dtype else convert(array, own, dtype) for array, own in (a, b))
        return OPERATIONS[name](left, right, dtype)


def _plain(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, DType], Typed]:
    """Compute in the common dtype and return it, even if numpy returns another one."""

    def compute(left: Array, right: Array, dtype: DType) -> Typed:
        if dtype is dtypes.bool_:
            # Bool is computed as 0 and 1; every nonzero result is True.
            left, right = left.astype(np.int8), right.astype(np.int8)
        return np.asarray(function(left, right)).astype(dtype.numpy, copy=False), dtype

    return compute


def _comparison(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, DType], Typed]:
    def compute(left: Array, right: Array, _dtype: DType) -> Typed:
        return np.asarray(function(left, right), np.bool_), dtypes.bool_

    return compute


def _divide(left: Array, right: Array, dtype: DType) -> Typed:
    if _kind(dtype) < _FLOAT:
        left, right = left.astype(np.float32), right.astype(np.float32)
        dtype = dtypes.float32
    return np.asarray(np.true_divide(left, right)), dtype


def _matmul(left: Array, right: Array, dtype: DType) -> Typed:
    if not left.ndim or not right.ndim:
        raise ArgumentTypeError("a matrix product needs at least one dimension on each side")
    try:
        if dtype is dtypes.bfloat16:
            product = np.matmul(left.astype(np.float32), right.astype(np.float32))
        else:
            product = np.matmul(left, right)
    except ValueError as error:
        raise ComputationError(f"shapes {left.shape} and {right.shape} cannot be multiplied as matrices") from error
    return np.asarray(product).astype(dtype.numpy, copy=False), dtype


OPERATIONS: Final[dict[str, Callable[[Array, Array, DType], Typed]]] = {
    "addition": _plain(np.add),
    "subtraction": _plain(np.subtract),
    "multiplication": _plain(np.multiply),
    "division": _divide,
    "matrix product": _matmul,
    "==": _comparison(np.equal),
    "!=": _comparison(np.not_equal),
    "<": _comparison(np.less),
    "<=": _comparison(np.less_equal),
    ">": _comparison(np.greater),
    ">=": _comparison(np.greater_equal),
}


def negate(array: Array, dtype: DType) -> Typed:
    """Change the sign; Bool is refused."""
    _computable(dtype)
    if dtype is dtypes.bool_:
        raise ArgumentTypeError("Bool cannot be negated", hint="convert it with astype(float32)")
    return -array, dtype


def magnitude(array: Array, dtype: DType) -> Typed:
    """Return absolute values; for complex numbers the result stays complex, as in MindSpore."""
    _computable(dtype)
    return np.abs(array).astype(dtype.numpy, copy=False), dtype


def reduce(name: str, array: Array, dtype: DType, where: Over) -> Typed:
    """Compute one of `REDUCTIONS`."""
    _computable(dtype)
    with translated(name):
        return REDUCTIONS[name](array, dtype, where)


def _widened(array: Array, dtype: DType) -> Array:
    """Convert 16-bit floats to Float32, so that a sum is rounded only once."""
    return array.astype(np.float32) if dtype in {dtypes.float16, dtypes.bfloat16} else array


def _sum(array: Array, dtype: DType, where: Over) -> Typed:
    """Sum the elements; Bool, UInt8 and signed integers up to Int32 give Int64."""
    if dtype in {dtypes.bool_, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.uint8}:
        dtype = dtypes.int64
    total = np.sum(_widened(array, dtype), axis=where.axis, keepdims=where.keepdims)
    return np.asarray(total).astype(dtype.numpy, copy=False), dtype


def _mean(array: Array, dtype: DType, where: Over) -> Typed:
    if dtype is dtypes.bool_:
        raise ComputationError("the mean of Bool is not defined", hint="convert it with astype(float32)")
    total = np.asarray(np.sum(_widened(array, dtype), axis=where.axis, keepdims=where.keepdims))
    count = array.size // max(total.size, 1)
    if _kind(dtype) == _INTEGER:
        # The mean of integers is an integer, rounded toward zero.
        mean = np.sign(total) * (np.abs(total) // max(count, 1))
    else:
        mean = total / total.dtype.type(count)
    return np.asarray(mean).astype(dtype.numpy), dtype


def _extreme(function: Any) -> Callable[[Array, DType, Over], Typed]:
    def compute(array: Array, dtype: DType, where: Over) -> Typed:
        if _kind(dtype) == _COMPLEX:
            raise ComputationError(f"{dtype} is not ordered")
        return np.asarray(function(array, axis=where.axis, keepdims=where.keepdims)), dtype

    return compute


def _truth(function: Any) -> Callable[[Array, DType, Over], Typed]:
    def compute(array: Array, _dtype: DType, where: Over) -> Typed:
        return np.asarray(function(array.astype(np.bool_), axis=where.axis, keepdims=where.keepdims)), dtypes.bool_

    return compute


REDUCTIONS: Final[dict[str, Callable[[Array, DType, Over], Typed]]] = {
    "sum": _sum,
    "mean": _mean,
    "max": _extreme(np.max),
    "min": _extreme(np.min),
    "all": _truth(np.all),
    "any": _truth(np.any),
}
