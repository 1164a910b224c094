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

from ckptload import dtypes, shown
from ckptload.errors import (
    ArgumentError,
    ArgumentIndexError,
    ArgumentOverflowError,
    ArgumentTypeError,
    CheckpointError,
    ComputationError,
    OutOfMemoryError,
)
from ckptload.messages import type_name
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
        raise ArgumentError(f"{operation}: {shown.foreign(error)}") from shown.cause(error)
    except IndexError as error:
        raise ArgumentIndexError(f"{operation}: {shown.foreign(error)}") from shown.cause(error)
    except OverflowError as error:
        raise ArgumentOverflowError(f"{operation}: {shown.foreign(error)}") from shown.cause(error)
    except TypeError as error:
        raise ArgumentTypeError(f"{operation}: {shown.foreign(error)}") from shown.cause(error)


def _kind(dtype: DType) -> int:
    """Return the rank of a dtype: Bool, integer, float, complex."""
    return _KINDS[dtype.numpy.kind]


def can_hold(dtype: DType, other: DType) -> bool:
    """Tell whether elements of one dtype can be set to those of another without losing a fraction or a sign."""
    return _kind(other) <= _kind(dtype)


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
        f"a tensor cannot be combined with {type_name(value)}", hint="make a Tensor of it first, or give a number"
    )


def together(a: Typed, b: Typed) -> tuple[Array, Array, DType]:
    """Convert both operands to their common dtype."""
    dtype = _promote(a[1], b[1])
    left, right = (array if own is dtype else convert(array, own, dtype) for array, own in (a, b))
    return left, right, dtype


def combine(name: str, a: Typed, b: Typed) -> Typed:
    """Compute one of `OPERATIONS` in the common dtype of both operands."""
    with translated(name):
        return OPERATIONS[name](*together(a, b))


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


def _real(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, DType], Typed]:
    """Compute as `_plain` does, for numbers that are ordered."""

    def compute(left: Array, right: Array, dtype: DType) -> Typed:
        if _kind(dtype) == _COMPLEX:
            raise ComputationError(f"{dtype} is not ordered")
        return _plain(function)(left, right, dtype)

    return compute


def _power(left: Array, right: Array) -> Array:
    if left.dtype.kind == "i" and (right < 0).any():
        # numpy refuses them; as in MindSpore, 1 / 2**n is rounded toward zero.
        return np.power(left.astype(np.float64), right.astype(np.float64)).astype(left.dtype)
    return np.asarray(np.power(left, right))


def _bits(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, DType], Typed]:
    def compute(left: Array, right: Array, dtype: DType) -> Typed:
        if _kind(dtype) > _INTEGER:
            raise ArgumentTypeError(f"{dtype} has no bits to combine", hint="convert both operands to integers or Bool")
        return np.asarray(function(left, right)), dtype

    return compute


def _logical(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, DType], Typed]:
    def compute(left: Array, right: Array, _dtype: DType) -> Typed:
        return np.asarray(function(left.astype(np.bool_), right.astype(np.bool_))), dtypes.bool_

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
    "power": _plain(_power),
    "floor division": _real(np.floor_divide),
    "modulo": _real(np.mod),
    "remainder of a division": _real(np.fmod),
    "maximum": _real(np.maximum),
    "minimum": _real(np.minimum),
    "bitwise and": _bits(np.bitwise_and),
    "bitwise or": _bits(np.bitwise_or),
    "bitwise xor": _bits(np.bitwise_xor),
    "logical and": _logical(np.logical_and),
    "logical or": _logical(np.logical_or),
    "logical xor": _logical(np.logical_xor),
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


def transform(name: str, array: Array, dtype: DType) -> Typed:
    """Compute one of `FUNCTIONS`."""
    _computable(dtype)
    with translated(name):
        return FUNCTIONS[name](array, dtype)


def _floating(function: Callable[[Array], Array]) -> Callable[[Array, DType], Typed]:
    """Compute in floats: Bool and integers give Float32, and BFloat16 is rounded from Float32."""

    def compute(array: Array, dtype: DType) -> Typed:
        if _kind(dtype) < _FLOAT:
            dtype = dtypes.float32
        wide = array.astype(np.float32) if dtype in {dtypes.float32, dtypes.bfloat16} else array
        return np.asarray(function(wide)).astype(dtype.numpy, copy=False), dtype

    return compute


def _stepped(function: Callable[[Array], Array]) -> Callable[[Array, DType], Typed]:
    """Round floats; Bool and integers are what they are."""

    def compute(array: Array, dtype: DType) -> Typed:
        if _kind(dtype) == _COMPLEX:
            raise ComputationError(f"{dtype} is not ordered")
        return (array.copy() if _kind(dtype) < _FLOAT else np.asarray(function(array)).astype(dtype.numpy)), dtype

    return compute


def _same(function: Callable[[Array], Array]) -> Callable[[Array, DType], Typed]:
    return lambda array, dtype: (np.asarray(function(array)).astype(dtype.numpy, copy=False), dtype)


def _asked(function: Callable[[Array], Array]) -> Callable[[Array, DType], Typed]:
    """Ask a question about each element; the answers are Bool."""
    return lambda array, _dtype: (np.asarray(function(array), np.bool_), dtypes.bool_)


def _sigmoid(array: Array) -> Array:
    # Written so that exp is never asked for a number that is too large.
    small = np.exp(-np.abs(array))
    return np.where(array.real >= 0, 1 / (1 + small), small / (1 + small)).astype(array.dtype)


FUNCTIONS: Final[dict[str, Callable[[Array, DType], Typed]]] = {
    "sqrt": _floating(np.sqrt),
    "rsqrt": _floating(lambda array: 1 / np.sqrt(array)),
    "exp": _floating(np.exp),
    "expm1": _floating(np.expm1),
    "log": _floating(np.log),
    "log2": _floating(np.log2),
    "log10": _floating(np.log10),
    "log1p": _floating(np.log1p),
    "sin": _floating(np.sin),
    "cos": _floating(np.cos),
    "tan": _floating(np.tan),
    "tanh": _floating(np.tanh),
    "sigmoid": _floating(_sigmoid),
    "reciprocal": _floating(lambda array: 1 / array),
    "square": _same(lambda array: array * array),
    "sign": _same(lambda array: np.sign(array.astype(np.int8) if array.dtype == np.bool_ else array)),
    "ceil": _stepped(np.ceil),
    "floor": _stepped(np.floor),
    "round": _stepped(np.rint),
    "trunc": _stepped(np.trunc),
    "isnan": _asked(np.isnan),
    "isinf": _asked(np.isinf),
    "isfinite": _asked(np.isfinite),
    "logical not": _asked(lambda array: ~array.astype(np.bool_)),
}


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
