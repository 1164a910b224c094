"""New tensors: of one number, of a range, of random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.ops.operands import tensor_of
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import as_dtype, from_python
from ckptload.tensors.spelling import integers, spelled
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from ckptload.dtypes import Array

__all__ = [
    "arange", "eye", "full", "full_like", "linspace", "normal", "ones", "ones_like", "rand", "rand_like", "randn",
    "randn_like", "standard_normal", "zeros", "zeros_like",
]  # fmt: skip

# The generator that scripts use, and seed with set_seed.
# ruff: noqa: NPY002


def _made(name: str, array: Array, dtype: Any) -> Tensor:
    """Return an array as a tensor of a dtype; without one, Float32 for floats and Int64 for integers."""
    kept = {"f": dtypes.float32, "i": dtypes.int64, "b": dtypes.bool_}.get(array.dtype.kind)
    if kept is None:
        raise ArgumentTypeError(f"{name} takes real numbers, and these become {array.dtype}")
    with arithmetic.translated(name):
        return Tensor.from_numpy(array).astype(kept if dtype is None else as_dtype(dtype), copy=False)


def _lengths(name: str, size: Any) -> tuple[int, ...]:
    return integers(name, (size.tolist() if isinstance(size, Tensor) else size,))


@spelled(shape="size")
def full(size: Any, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """Return a tensor of one number; without a dtype, an integer gives Int64 and a float Float32."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    if not isinstance(value, (int, float, np.number, np.bool_)):
        raise ArgumentTypeError(f"full takes a number, not {type(fill_value).__name__}")
    if dtype is None:
        dtype = dtypes.float32 if isinstance(value, (float, np.floating)) else dtypes.int64
    wanted = as_dtype(dtype)
    element, _ = from_python(value, wanted)
    with arithmetic.translated("full"):
        return Tensor.adopt(np.full(_lengths("full", size), element, wanted.numpy), wanted)


@spelled(shape="size")
def zeros(size: Any, dtype: Any = None) -> Tensor:
    """Return a tensor of zeros, of Float32 unless another dtype is given."""
    return full(size, 0, dtype=dtypes.float32 if dtype is None else dtype)


@spelled(shape="size")
def ones(size: Any, dtype: Any = None) -> Tensor:
    """Return a tensor of ones, of Float32 unless another dtype is given."""
    return full(size, 1, dtype=dtypes.float32 if dtype is None else dtype)


@spelled(x="input")
def full_like(input: Any, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """Return a tensor of one number, with the shape of another tensor, and its dtype unless one is given."""
    like = tensor_of("full_like", input)
    return full(like.shape, fill_value, dtype=like.dtype if dtype is None else dtype)


@spelled(x="input")
def zeros_like(input: Any, *, dtype: Any = None) -> Tensor:
    """Return a tensor of zeros, with the shape of another tensor, and its dtype unless one is given."""
    return full_like(input, 0, dtype=dtype)


@spelled(x="input")
def ones_like(input: Any, *, dtype: Any = None) -> Tensor:
    """Return a tensor of ones, with the shape of another tensor, and its dtype unless one is given."""
    return full_like(input, 1, dtype=dtype)


def eye(n: int, m: int | None = None, dtype: Any = None) -> Tensor:
    """Return a matrix with ones on its diagonal, of Float32 unless another dtype is given."""
    with arithmetic.translated("eye"):
        return _made("eye", np.eye(n, m), dtype)


def arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Tensor:
    """Return the numbers from `start` to before `end`, or from 0 to before `start`; integers give Int64."""
    first, last = (0, start) if end is None else (start, end)
    numbers = [one.item() if isinstance(one, Tensor) else one for one in (first, last, step)]
    with arithmetic.translated("arange"):
        return _made("arange", np.arange(*numbers), dtype)


@spelled(stop="end", num="steps")
def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None) -> Tensor:
    """Return so many numbers from `start` to `end`, at equal distances."""
    first, last = (one.item() if isinstance(one, Tensor) else one for one in (start, end))
    with arithmetic.translated("linspace"):
        return _made("linspace", np.linspace(first, last, steps), dtype)


# -- random numbers ----------------------------------------------------------------------------------------


def rand(*size: Any, dtype: Any = None) -> Tensor:
    """Return random numbers from 0 to 1; they are not MindSpore's."""
    with arithmetic.translated("rand"):
        return _made("rand", np.asarray(np.random.random_sample(integers("rand", size))), dtype)


def randn(*size: Any, dtype: Any = None) -> Tensor:
    """Return random numbers of the standard normal distribution; they are not MindSpore's."""
    return normal(integers("randn", size), 0, 1).astype(dtypes.float32 if dtype is None else as_dtype(dtype))


def rand_like(input: Any, *, dtype: Any = None) -> Tensor:
    """Return random numbers from 0 to 1 in the shape of a tensor, and its dtype unless one is given."""
    like = tensor_of("rand_like", input)
    return rand(like.shape, dtype=like.dtype if dtype is None else dtype)


def randn_like(input: Any, *, dtype: Any = None) -> Tensor:
    """Return normal random numbers in the shape of a tensor, and its dtype unless one is given."""
    like = tensor_of("randn_like", input)
    return randn(like.shape, dtype=like.dtype if dtype is None else dtype)


def normal(shape: Any, mean: Any, stddev: Any) -> Tensor:
    """Return Float32 random numbers of a normal distribution; they are not MindSpore's."""
    middle, width = (one.asnumpy() if isinstance(one, Tensor) else one for one in (mean, stddev))
    with arithmetic.translated("normal"):
        return _made("normal", np.asarray(np.random.normal(middle, width, _lengths("normal", shape))), None)


def standard_normal(shape: Any) -> Tensor:
    """Return Float32 random numbers of the standard normal distribution; they are not MindSpore's."""
    return normal(shape, 0, 1)
