"""One tensor of several, and parts of a tensor that has been padded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload.errors import ArgumentError
from ckptload.messages import shown_value
from ckptload.ops.operands import several, tensor_of
from ckptload.tensors import arithmetic
from ckptload.tensors.spelling import integers, spelled
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.dtypes import Array

__all__ = ["addn", "cat", "concat", "dstack", "hstack", "pad", "stack", "vstack"]


def _joined(name: str, tensors: Any, join: Callable[[list[Array]], Array]) -> Tensor:
    found = several(name, tensors)
    with arithmetic.translated(name):
        return Tensor.adopt(np.ascontiguousarray(join([one.asnumpy() for one in found])), found[0].dtype)


@spelled(dim="axis", input_x="tensors")
def concat(tensors: Any, axis: int = 0) -> Tensor:
    """Join tensors along a dimension that they have.

    Raises:
        ArgumentTypeError: it is not a list or a tuple of tensors, or their dtypes differ.
        ArgumentError: their shapes do not fit.
    """
    return _joined("concat", tensors, lambda arrays: np.concatenate(arrays, axis))


cat = concat


@spelled(dim="axis", input_x="tensors")
def stack(tensors: Any, axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension; see `concat`."""
    return _joined("stack", tensors, lambda arrays: np.stack(arrays, axis))


def hstack(tensors: Any) -> Tensor:
    """Join tensors along the second dimension, or vectors along their only one."""
    return _joined("hstack", tensors, np.hstack)


@spelled(inputs="tensors")
def vstack(tensors: Any) -> Tensor:
    """Join tensors along the first dimension; vectors become rows."""
    return _joined("vstack", tensors, np.vstack)


def dstack(tensors: Any) -> Tensor:
    """Join tensors along the third dimension."""
    return _joined("dstack", tensors, np.dstack)


def addn(x: Any) -> Tensor:
    """Return the sum of several tensors of one shape and dtype."""
    first, *others = several("addn", x)
    total = first.copy() if not others else first
    for other in others:
        total = total + other
    return total


@spelled(x="input", input_x="input")
def pad(input: Any, padding: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Put numbers around a tensor.

    Args:
        input: the tensor.
        padding: how many before and after the elements, in pairs, beginning with the last dimension.
        mode: ``"constant"``, ``"reflect"`` or ``"replicate"``.
        value: the number to put there; None for 0.

    Raises:
        ArgumentError: the pairs do not fit the dimensions, or the mode is another one.
    """
    tensor = tensor_of("pad", input)
    numbers = integers("pad", (padding.tolist() if isinstance(padding, Tensor) else padding,))
    if len(numbers) % 2 or len(numbers) > 2 * tensor.ndim:
        raise ArgumentError(
            f"padding takes one pair of numbers for each of {tensor.ndim} dimensions, not {shown_value(numbers)}"
        )
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    widths = [*[(0, 0)] * (tensor.ndim - len(pairs)), *reversed(pairs)]
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    if not isinstance(mode, str) or mode not in modes:
        raise ArgumentError(f"mode must be one of {', '.join(map(repr, modes))}, not {shown_value(mode)}")
    with arithmetic.translated("pad"):
        if mode == "constant":
            number = Tensor(0 if value is None else value).astype(tensor.dtype).asnumpy()
            array = np.pad(tensor.asnumpy(), widths, "constant", constant_values=number)
        else:
            array = np.pad(tensor.asnumpy(), widths, modes[mode])  # type: ignore[call-overload]
    return Tensor.adopt(np.ascontiguousarray(array), tensor.dtype)
