"""Initializers under the module name of MindSpore's scripts."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

from ckptload.absent import absent_from
from ckptload.dtypes import float32
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name
from ckptload.tensors.initializers import (
    Constant,
    Dirac,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    Normal,
    One,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
    Zero,
    initial,
)
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from ckptload.dtypes import DType

__all__ = [
    "Constant", "Dirac", "HeNormal", "HeUniform", "Identity", "Initializer", "Normal", "One", "Orthogonal", "Sparse",
    "TruncatedNormal", "Uniform", "VarianceScaling", "XavierNormal", "XavierUniform", "Zero", "initializer",
]  # fmt: skip


def initializer(init: Any, shape: Any = None, dtype: DType = float32) -> Tensor:
    """Make a tensor with the values of an initializer, which exist at once; `Tensor.init_data` changes nothing.

    Args:
        init: an initializer, its name, a number, or a tensor, which is returned as it is.
        shape: lengths of the dimensions, all positive; a number is one of them.
        dtype: dtype of the elements.

    Returns:
        A Tensor that owns its memory, unless it was given.

    Raises:
        ArgumentTypeError: ``init`` is of another type.
        ArgumentError: there is no such initializer, or the shape is not valid.
    """
    if isinstance(init, Tensor):
        lengths = init.shape if shape is None else _lengths(shape)
        if lengths != init.shape:
            wanted = shown_value(lengths)
            raise ArgumentError(f"a tensor of shape {init.shape} cannot give values of shape {wanted}")
        return init
    if not isinstance(init, (str, numbers.Number, Initializer)):
        raise ArgumentTypeError(f"init must be an initializer, its name, a number or a Tensor, not {type_name(init)}")
    if shape is None or dtype is None:
        raise ArgumentError("an initializer needs a shape and a dtype")
    lengths = _lengths(shape)
    if any(length <= 0 for length in lengths):
        raise ArgumentError(f"the lengths of dimensions must be positive, and shape is {lengths}")
    return Tensor.adopt(initial(init, lengths, dtype), dtype)  # type: ignore[arg-type]


def _lengths(shape: Any) -> tuple[int, ...]:
    lengths = shape.tolist() if isinstance(shape, Tensor) else shape
    return tuple(lengths) if isinstance(lengths, (tuple, list)) else (lengths,)


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
