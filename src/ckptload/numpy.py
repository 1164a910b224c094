"""Functions on tensors as numpy names them: what scripts use of ``mindspore.numpy`` on weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes
from ckptload.absent import absent_from
from ckptload.ops.functional import (
    abs,
    add,
    all,
    any,
    argmax,
    argmin,
    clip,
    divide,
    dot,
    exp,
    expand_dims,
    eye,
    hstack,
    isfinite,
    isinf,
    isnan,
    linspace,
    log,
    matmul,
    maximum,
    mean,
    minimum,
    multiply,
    outer,
    ravel,
    reshape,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    subtract,
    swapaxes,
    tile,
    var,
    vstack,
    where,
)
from ckptload.ops.functional import arange as _arange
from ckptload.ops.functional import concat as _concat
from ckptload.ops.functional import full as _full
from ckptload.ops.operands import method, several, tensor_of
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import as_dtype
from ckptload.tensors.tensor import Tensor

__all__ = [
    "abs", "add", "all", "any", "arange", "argmax", "argmin", "array", "asarray", "clip", "concatenate", "divide",
    "dot", "exp", "expand_dims", "eye", "full", "full_like", "hstack", "inf", "isfinite", "isinf", "isnan",
    "linspace", "log", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "nan", "ones", "ones_like",
    "outer", "pi", "prod", "ravel", "repeat", "reshape", "split", "sqrt", "square", "squeeze", "stack", "std",
    "subtract", "sum", "swapaxes", "tile", "transpose", "var", "vstack", "where", "zeros", "zeros_like",
]  # fmt: skip

inf: Final = math.inf
nan: Final = math.nan
pi: Final = math.pi

max = method("amax", called="max")
min = method("amin", called="min")
prod = method("prod")
repeat = method("repeat_interleave", called="repeat")
sum = method("sum")
transpose = method("transpose")


def array(obj: Any, dtype: Any = None) -> Tensor:
    """Return a new tensor; integers give Int32 and floats Float32 unless a dtype is given."""
    tensor = obj.copy() if isinstance(obj, Tensor) else Tensor(obj)
    if dtype is None:
        dtype = dtypes.int32 if tensor.dtype is dtypes.int64 and not isinstance(obj, (Tensor, np.ndarray)) else None
    return tensor if dtype is None else tensor.astype(dtype)


def asarray(a: Any, dtype: Any = None) -> Tensor:
    """Return a tensor as it is, and make one of anything else; see `array`."""
    return a if isinstance(a, Tensor) and dtype is None else array(a, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """Return a tensor of one number; without a dtype, an integer gives Int32 and a float Float32."""
    integer = isinstance(fill_value, int) and not isinstance(fill_value, bool)
    return _full(shape, fill_value, dtype=dtypes.int32 if dtype is None and integer else dtype)


def zeros(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Return a tensor of zeros."""
    return _full(shape, 0, dtype=dtype)


def ones(shape: Any, dtype: Any = dtypes.float32) -> Tensor:
    """Return a tensor of ones."""
    return _full(shape, 1, dtype=dtype)


def full_like(a: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """Return a tensor of one number, with the shape of another tensor, and its dtype unless one is given."""
    like = asarray(a)
    return _full(like.shape, fill_value, dtype=like.dtype if dtype is None else dtype)


def zeros_like(a: Any, dtype: Any = None) -> Tensor:
    """Return a tensor of zeros, with the shape of another tensor, and its dtype unless one is given."""
    return full_like(a, 0, dtype)


def ones_like(a: Any, dtype: Any = None) -> Tensor:
    """Return a tensor of ones, with the shape of another tensor, and its dtype unless one is given."""
    return full_like(a, 1, dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """Return the numbers from `start` to before `stop`; integers give Int32 unless a dtype is given."""
    tensor = _arange(start, stop, step)
    if dtype is not None:
        return tensor.astype(as_dtype(dtype))
    return tensor.astype(dtypes.int32) if tensor.dtype is dtypes.int64 else tensor


def concatenate(arrays: Any, axis: int | None = 0) -> Tensor:
    """Join tensors along a dimension, or (None) flattened."""
    if axis is None:
        return _concat([one.ravel() for one in several("concatenate", arrays)])
    return _concat(arrays, axis)


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor into so many equal parts, or at places, as numpy does."""
    tensor = tensor_of("split", x)
    with arithmetic.translated("split"):
        parts = np.split(tensor.asnumpy(), indices_or_sections, axis)
    return tuple(Tensor.adopt(np.array(part, order="C"), tensor.dtype) for part in parts)


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
